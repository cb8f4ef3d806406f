/** Whoever owns a connection, a session or an acceptor: what it hears of, and is asked. */
import type { GenRpcError } from '../protocol/errors.js';
import type { CancelFrame, EndFrame, GoAwayFrame, HeadersFrame, PayloadFrame } from '../protocol/frame.js';

/** Frames that the owner of a connection hears of. */
export type OwnersFrame = PayloadFrame | HeadersFrame | CancelFrame | EndFrame | GoAwayFrame;

export interface ConnectionEvents {
  frame(frame: OwnersFrame): void;
  /** Does anybody wait for the message that begins so? @throws GenRpcError `protocol_error`. */
  awaits(frame: PayloadFrame): boolean;
  /** Has there been a call of this number? */
  isKnown(id: number): boolean;
  /** A message came, in part, that nobody waits for any more. */
  late(): void;
  /** No frame comes or goes any more. Called exactly once. */
  closed(reason: GenRpcError): void;
}
