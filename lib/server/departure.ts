/** How a server takes leave of a client: asks it to call elsewhere, and later refuses what still comes. */
import type { Connection } from '../connection/connection.js';
import { FrameType, GOAWAY_NOTHING_REFUSED } from '../protocol/frame.js';
import type { Clock } from '../ports/clock.js';

/** How long a client may take to see that it was asked, before it is told which calls come too late. */
const NOTICE_MS = 1000;

export class Departure {
  /** New calls are refused. */
  refusing = false;
  begun = false;

  /** @param onRefusing asked for the highest number of a call that was taken */
  constructor(
    private readonly connection: Connection,
    private readonly clock: Clock,
    private readonly onRefusing: () => number,
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
    const notice = this.clock.after(NOTICE_MS, () => this.refuse());
    this.connection.ping(() => {
      notice.cancel();
      this.refuse();
    });
    void this.connection.ended.then(() => notice.cancel());
  }

  private refuse(): void {
    if (this.refusing) return;
    this.refusing = true;
    this.connection.send({ type: FrameType.GoAway, lastId: this.onRefusing() });
  }
}
