/** What lanes are made with, and whom they tell. */
import type { Random } from '../ports/random.js';
import type { BackoffLimits } from '../ports/backoff.js';
import type { Dialled } from './dialer.js';
import type { SessionPorts } from './session.js';

export interface LanePorts extends SessionPorts {
  readonly random: Random;
  readonly backoff: BackoffLimits;
  /** Resolves, connects, authenticates. Rejects with a GenRpcError. */
  dial(node: string, signal: AbortSignal): Promise<Dialled>;
}

/** What a lane is known by. */
export interface LaneName {
  readonly node: string;
  readonly name: string;
}

/** What a lane tells its dispatcher. */
export interface LaneEvents {
  /** It has an open connection from now on, or none any more. */
  status(lane: LaneName, connected: boolean): void;
  /** Its connection was closed for want of use: nothing is lost with it. */
  unused(lane: LaneName): void;
}
