/** How a server takes leave of a client: asks it to call elsewhere, and later refuses what still comes. */
import type { Connection } from '../connection/connection.js';
import { FrameType, GOAWAY_NOTHING_REFUSED, GOAWAY_REPLACED } from '../protocol/frame.js';
import type { GenRpcError } from '../protocol/errors.js';
import type { Clock } from '../ports/clock.js';

/** How long a client may take to see that it was asked, before it is told which calls come too late. */
const NOTICE_MS = 1000;

export interface DepartureEvents {
  /** The highest number of a call that was taken. */
  lastId(): number;
  /** The client knows which calls come too late. */
  seen(): void;
}

export class Departure {
  /** New calls are refused. */
  refusing = false;
  begun = false;
  /** The client knows it, and whatever it sent before has arrived. */
  seen = false;

  constructor(
    private readonly connection: Connection,
    private readonly clock: Clock,
    private readonly events: DepartureEvents,
  ) {}

  /** Nothing is refused: the connection is of no use any more, and the client is to close it. */
  suggest(): void {
    this.connection.send({ type: FrameType.GoAway, lastId: GOAWAY_NOTHING_REFUSED });
  }

  /**
   * Whatever the client sent before it saw the request has arrived when it answers the PING behind it: only what comes
   * later is refused. Safe to repeat.
   */
  begin(): void {
    if (this.begun) return;
    this.begun = true;
    this.suggest();
    this.afterNotice(() => this.refuse());
  }

  /** Another process of the client's name has its place: ends now, and says so where no lower number was said before. */
  replace(reason: GenRpcError): void {
    if (this.refusing) this.connection.abort(reason);
    else this.connection.dismiss({ type: FrameType.GoAway, lastId: GOAWAY_REPLACED }, reason);
  }

  private refuse(): void {
    this.refusing = true;
    this.connection.send({ type: FrameType.GoAway, lastId: this.events.lastId() });
    // A call below that may still be half here, or may not even have begun to come: it must get an answer.
    this.afterNotice(() => {
      this.seen = true;
      this.events.seen();
    });
  }

  /** Runs `then` once the client has seen what was sent before, or should have. */
  private afterNotice(then: () => void): void {
    let done = false;
    const once = (): void => {
      notice.cancel();
      if (done || !this.connection.isOpen) return;
      done = true;
      then();
    };
    const notice = this.clock.after(NOTICE_MS, once);
    this.connection.ping(once);
    void this.connection.ended.then(() => notice.cancel());
  }
}
