/** Tells health checks how the application's node is. It asks the node that runs, and opens no connection to look. */
import { Inject, Injectable } from '@nestjs/common';
import { GenRpcNode } from '../node/gen-rpc-node.js';
import type { NodePhase } from '../node/lifecycle.js';
import { isGenRpcError, type GenRpcErrorCode } from '../protocol/errors.js';

/** What @nestjs/terminus takes for the answer of an indicator, under the key it was asked with. */
export type GenRpcHealth<Key extends string, Details extends object> = Readonly<
  Record<Key, { readonly status: 'up' | 'down' } & Partial<Details>>
>;

/** What there is to be known of the node. */
export interface NodeHealth {
  readonly node: string;
  readonly phase: NodePhase;
  /** Whole days until its certificate ends; absent without TLS. */
  readonly certificateDays: number;
  /** What is in the way, or soon will be. */
  readonly message: string;
}

/** What there is to be known of a peer. */
export interface PeerHealth {
  readonly peer: string;
  /** Why there is no connection. */
  readonly code: GenRpcErrorCode;
  readonly message: string;
}

export interface PeerHealthOptions {
  /** ms that connecting may take, where there is no connection yet. Default 1,000. */
  readonly timeout?: number;
}

export interface CertificateHealthOptions {
  /** Days before the end from which on it says so, and stays `up`. Default 30. */
  readonly warn?: number;
  /** Days before the end below which it is `down`. Default 0: once it has expired. */
  readonly down?: number;
}

const PEER_TIMEOUT_MS = 1000;

@Injectable()
export class GenRpcHealthIndicator {
  constructor(@Inject(GenRpcNode) private readonly node: GenRpcNode) {}

  /** `down` once the node has closed for good: what is left is to start the process anew. Knows nothing of other nodes. */
  isLive<Key extends string>(key: Key): GenRpcHealth<Key, NodeHealth> {
    const { phase } = this.node.stats();
    return this.answer(key, phase === 'closed' ? 'The node is closed.' : undefined);
  }

  /** `up` while calls may be sent here: the node listens, does not drain, and its certificate has not expired. */
  isReady<Key extends string>(key: Key): GenRpcHealth<Key, NodeHealth> {
    const { phase, certificateDays = 0 } = this.node.stats();
    const expired = certificateDays < 0 ? 'The certificate has expired.' : undefined;
    return this.answer(key, phase === 'open' ? expired : PHASES[phase]);
  }

  /** `up` where there is a connection to `peer`, or one can be made in time. Calls use that one too. */
  async isConnected<Key extends string>(
    key: Key,
    peer: string,
    { timeout = PEER_TIMEOUT_MS }: PeerHealthOptions = {},
  ): Promise<GenRpcHealth<Key, PeerHealth>> {
    try {
      await this.node.connect(peer, { timeout });
      return healthOf(key, { status: 'up', peer });
    } catch (error) {
      if (!isGenRpcError(error)) throw error;
      return healthOf(key, { status: 'down', peer, code: error.code, message: error.message });
    }
  }

  /** How long the node's certificate is good for; `up` without TLS. */
  isCertified<Key extends string>(
    key: Key,
    { warn = 30, down = 0 }: CertificateHealthOptions = {},
  ): GenRpcHealth<Key, NodeHealth> {
    const { certificateDays = Infinity } = this.node.stats();
    const message =
      certificateDays < 0 ? 'The certificate has expired.' : `The certificate ends in ${certificateDays} days.`;
    if (certificateDays < down) return this.answer(key, message);
    return this.answer(key, undefined, certificateDays < warn ? message : undefined);
  }

  /** @param obstacle makes it `down` */
  private answer<Key extends string>(key: Key, obstacle?: string, message = obstacle): GenRpcHealth<Key, NodeHealth> {
    const { phase, certificateDays } = this.node.stats();
    return healthOf(key, {
      status: obstacle === undefined ? 'up' : 'down',
      node: this.node.name,
      phase,
      ...(certificateDays === undefined ? {} : { certificateDays }),
      ...(message === undefined ? {} : { message }),
    });
  }
}

const PHASES: Readonly<Record<Exclude<NodePhase, 'open'>, string>> = {
  starting: 'The node does not listen yet.',
  draining: 'The node drains: it takes no new calls.',
  closed: 'The node is closed.',
};

function healthOf<Key extends string, Details extends object>(
  key: Key,
  health: { readonly status: 'up' | 'down' } & Partial<Details>,
): GenRpcHealth<Key, Details> {
  return { [key]: health } as unknown as GenRpcHealth<Key, Details>;
}
