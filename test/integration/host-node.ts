/** A node on a host of its own, as a test sees it: what it is told to do, and what it has seen. */
import { join } from 'node:path';
import type { CallOptions } from '../../lib/node/call-options.js';
import type { NodeLocationOptions } from '../../lib/options/node-location-options.js';
import type { GenRpcOptions } from '../../lib/node/options.js';
import type { GenRpcNode } from '../../lib/node/gen-rpc-node.js';
import type { GenRpcErrorCode } from '../../lib/protocol/errors.js';
import { NetProcess } from '../support/net-process.js';
import type { Host } from './lan.js';

const PROGRAM = join(import.meta.dirname, 'children/host.mjs');

type NodeStats = ReturnType<GenRpcNode['stats']>;

/** Where nodes are, by their names. */
export type Places = Readonly<Record<string, NodeLocationOptions>>;

/** When something happened, ms of `machineNow`. */
interface Event {
  readonly at: number;
  readonly code?: GenRpcErrorCode;
}

interface Failure {
  readonly code?: GenRpcErrorCode;
  readonly maybeExecuted?: boolean;
}

/** How a call ended. */
export interface End extends Failure {
  readonly value?: unknown;
  readonly message?: string;
  /** What the system said of an attempt to connect. */
  readonly cause?: string;
  readonly at: number;
  readonly ms: number;
}

/** How a multicall ended. */
export interface Multicall {
  readonly outcomes: readonly (Failure & { node: string; ok: boolean; cause?: string; ms: number })[];
  readonly results: readonly unknown[];
  readonly badNodes: readonly string[];
}

/** What was read of a stream that counts. */
export interface Read extends Failure {
  readonly items: number;
  readonly inOrder: boolean;
  readonly at: number;
}

/** What became of a call that was made beside the test. */
export interface TrafficCall extends End {
  readonly id: string;
  readonly to: string;
}

export interface TrafficPlan {
  /** The beginning of the calls' ids. */
  readonly tag: string;
  readonly peers: readonly string[];
  /** ms between calls to one of them. */
  readonly every: number;
  readonly timeout: number;
}

export class HostNode {
  private constructor(
    readonly name: string,
    readonly host: Host,
    private readonly process: NetProcess,
  ) {}

  /**
   * Resolves once the node listens.
   * @param folder for the ids of all calls that have run
   */
  static async start(host: Host, folder: string, options: Omit<GenRpcOptions, 'nodes'>): Promise<HostNode> {
    const { name } = options;
    const env = { OPTIONS: JSON.stringify(options), FOLDER: folder };
    return new HostNode(name, host, await NetProcess.start(host.namespace, name, PROGRAM, env));
  }

  get pid(): number | undefined {
    return this.process.pid;
  }

  get running(): boolean {
    return this.process.running;
  }

  /** Where it is to find other nodes from now on. */
  learn(places: Places): Promise<void> {
    return this.process.ask('places', places);
  }

  /** A function of module `host`. */
  call(to: HostNode, fn: string, args: readonly unknown[], options: CallOptions = {}): Promise<End> {
    return this.process.ask('call', { target: to.name, fn, args, options });
  }

  /** As `to` sees it: who answers a multicall of its own, to `targets` or to everyone it is connected to. */
  relayed(to: HostNode, targets: readonly string[] | null): Promise<End> {
    return this.process.ask('call', { target: to.name, module: 'relay', fn: 'multicall', args: [targets] });
  }

  /** Reads what counts. */
  stream(from: HostNode, args: readonly unknown[], options: CallOptions = {}): Promise<Read> {
    return this.process.ask('stream', { target: from.name, fn: 'count', args, options });
  }

  /** Sends a number every so many ms, without end. */
  upload(to: HostNode, id: string, every: number, options: CallOptions = {}): Promise<End> {
    return this.process.ask('upload', { target: to.name, id, every, options });
  }

  /** A verb for many nodes. */
  many<T>(verb: 'multicall' | 'abcast' | 'sbcast' | 'evalEverywhere', ...args: readonly unknown[]): Promise<T> {
    return this.process.ask('many', { verb, args });
  }

  /** Resolves once the function of a call has begun here. */
  began(id: string): Promise<Event> {
    return this.process.ask('began', id);
  }

  /** Resolves once the function of a call here, or the source of its items, was told that nobody waits for it. */
  ended(id: string): Promise<Event & Partial<Read>> {
    return this.process.ask('ended', id);
  }

  /** Resets every socket that others have opened to here; resolves with how many. */
  reset(): Promise<number> {
    return this.process.ask('reset');
  }

  startTraffic(plan: TrafficPlan): Promise<void> {
    return this.process.ask('startTraffic', plan);
  }

  /** Resolves once all calls have ended. */
  stopTraffic(): Promise<TrafficCall[]> {
    return this.process.ask('stopTraffic');
  }

  stats(): Promise<NodeStats> {
    return this.process.ask('stats');
  }

  /** Closes the node; resolves with what is left of it, once its process has ended by itself. */
  async close(): Promise<NodeStats & { sockets: number; status: unknown }> {
    const left = await this.process.ask<NodeStats & { sockets: number }>('close');
    this.process.disconnect();
    return { ...left, status: await this.process.ended() };
  }

  kill(): Promise<void> {
    return this.process.kill();
  }
}
