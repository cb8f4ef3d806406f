/** The casts of one connection: as many as it has credit for, which comes back as they end. */
import type { Connection } from '../connection/connection.js';
import type { Window } from '../connection/credit.js';
import { costOf } from '../connection/credit.js';
import { CAST_STREAM, FrameType, type CallFrame, type CastFrame } from '../protocol/frame.js';
import { argumentsOf } from '../protocol/invocation.js';
import { withOwnBytes } from '../protocol/payload.js';
import { violation } from '../protocol/violation.js';
import type { Casts, CastSource, IncomingCast } from './casts.js';
import type { OrderedCasts } from './ordered-casts.js';
import type { Receipt } from './running-call.js';

export interface CastIntakePorts {
  readonly casts: Casts;
  readonly orderedCasts: OrderedCasts;
}

export class CastIntake implements CastSource {
  private readonly window: Window;

  constructor(
    private readonly connection: Connection,
    private readonly ports: CastIntakePorts,
  ) {
    this.window = connection.newWindow();
  }

  /** A cast has come. @throws GenRpcError `protocol_error` for one without credit. */
  take(frame: CastFrame): void {
    if (this.window.takeItem(costOf(frame.payload.bytes.length))) return;
    throw violation('fc_violation', 'More casts were sent than there was credit for.');
  }

  run(frame: CastFrame): void {
    const { casts, orderedCasts } = this.ports;
    if (frame.order === undefined) return casts.run(this.castOf(frame));
    const cast = this.castOf({ ...frame, payload: withOwnBytes(frame.payload) });
    orderedCasts.run(this.connection.peer.incarnation, frame.order, cast);
  }

  /** A call whose answer is that it has begun. */
  runDelivered(frame: CallFrame, receipt: Receipt): void {
    this.ports.casts.run(this.castOf(frame, receipt));
  }

  castEnded(bytes: number): void {
    this.connection.free(CAST_STREAM, this.window, costOf(bytes));
  }

  private castOf(frame: CallFrame | CastFrame, receipt?: Receipt): IncomingCast {
    const what = this.ports.casts.full ? { ...frame, payload: withOwnBytes(frame.payload) } : frame;
    const { payload } = what;
    const { single } = frame;
    const readArgs = (): unknown => argumentsOf(this.connection.decode(payload), single, payload.kind === 'raw');
    const source = frame.type === FrameType.Cast ? this : undefined;
    return { what, caller: this.connection.peer, bytes: payload.bytes.length, source, readArgs, receipt };
  }
}
