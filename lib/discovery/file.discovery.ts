/** Nodes that are written down in a file, which may be replaced while the node runs: by hand, or as a ConfigMap. */
import { check, isRecord } from '../options/check-options.js';
import { GenRpcConfigError, type Problem } from '../options/config-error.js';
import { NodeLocationOptions } from '../options/node-location-options.js';
import { isText, Matches } from '../options/option-rules.js';
import type { Clock, Timer } from '../ports/clock.js';
import type { Files, Watch } from '../ports/files.js';
import type { Random } from '../ports/random.js';
import { GenRpcError } from '../protocol/errors.js';
import { isNodeName, NODE_NAME_RULE, printable } from '../protocol/node-name.js';
import { systemFiles } from '../system/system-files.js';
import { systemClock, systemRandom } from '../system/system.js';
import type { Discovery, MembershipWatcher, Place } from './discovery.js';
import { anewAfter } from './anew.js';
import { placeOf, writtenRecord } from './static.discovery.js';

export class FileDiscoveryOptions {
  /** The path of a JSON file, from node name to place, as in the option `nodes`; at most 1 MiB. */
  @Matches((value) => isText(value) && value !== '', 'the path of a file')
  path!: string;
}

export interface FileDiscoveryPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly files: Files;
}

type Nodes = ReadonlyMap<string, NodeLocationOptions>;

/** Why it is read: only an event may be for nothing, or too early. */
type Occasion = 'event' | 'settled' | 'due';

const MOST_BYTES = 2 ** 20;
/** A file that is written in place is told of at its first byte. */
const SETTLE_MS = 500;
/** Network file systems tell nobody that a file has changed. */
const LOOK_EVERY_MS = 60_000;
/** A message that nobody reads to its end is of no use. */
const MOST_PROBLEMS = 10;

export class FileDiscovery implements Discovery {
  private readonly path: string;
  private readonly ports: FileDiscoveryPorts;
  /** As it was read last, unless it could not be; and what that says. */
  private text: string | undefined;
  private found: Nodes | Error = new Error('It has not been read yet.');
  /** What it said when it was last right. */
  private known: Nodes | undefined;
  private watcher: MembershipWatcher | undefined;
  private watching: Watch | undefined;
  private settling: Timer | undefined;
  private ticking: Timer | undefined;

  /** Nothing is read yet. @throws GenRpcConfigError naming every problem. */
  constructor(options: FileDiscoveryOptions, ports: Partial<FileDiscoveryPorts> = {}) {
    const problems = check(FileDiscoveryOptions, options, '');
    if (problems.length > 0) throw new GenRpcConfigError('new FileDiscovery()', problems);
    this.path = options.path;
    this.ports = { clock: systemClock, random: systemRandom, files: systemFiles, ...ports };
  }

  /** As it is written; a node of which nothing is written is where its name says. */
  async resolve(node: string): Promise<Place> {
    if (this.known === undefined) this.read();
    if (this.known !== undefined) return placeOf(this.known.get(node) ?? {});
    const cause = this.found instanceof Error ? this.found : undefined;
    throw new GenRpcError('external_source_error', `${node} cannot be found: ${cause?.message}`, { cause });
  }

  watch(watcher: MembershipWatcher): void {
    this.watcher = watcher;
    this.look('due');
    this.tick();
  }

  close(): Promise<void> {
    this.watcher = undefined;
    this.watching?.close();
    this.settling?.cancel();
    this.ticking?.cancel();
    return Promise.resolve();
  }

  private tick(): void {
    this.ticking = this.ports.clock.after(LOOK_EVERY_MS, () => {
      this.look('due');
      this.tick();
    });
  }

  private look(occasion: Occasion): void {
    this.rewatch();
    const isNew = this.read();
    if (occasion === 'event' && !isNew) return;
    // It may be half written.
    if (occasion === 'event' && this.found instanceof Error) this.lookAfter(SETTLE_MS, 'settled');
    else this.tell();
  }

  private lookAfter(ms: number, occasion: Occasion): void {
    this.settling?.cancel();
    this.settling = this.ports.clock.after(ms, () => {
      this.settling = undefined;
      this.look(occasion);
    });
  }

  /** Anew each time: links may lead elsewhere by now. Where nothing can be watched, it is read every minute. */
  private rewatch(): void {
    const before = this.watching;
    const changed = (): void => (this.settling === undefined ? this.lookAfter(SETTLE_MS, 'event') : undefined);
    this.watching = this.ports.files.watch([this.path], changed, () => {});
    before?.close();
  }

  private tell(): void {
    if (this.found instanceof Error) {
      this.watcher?.failed(this.found);
      return;
    }
    const records = [...this.found].map(([name, node]) => writtenRecord(name, node));
    if (this.watcher?.members(records) === false) this.lookAfter(anewAfter(this.ports.random), 'due');
  }

  /** Returns whether there is something else than before. */
  private read(): boolean {
    const before = this.text;
    try {
      this.text = undefined;
      this.text = this.ports.files.read(this.path, MOST_BYTES).toString('utf8');
      if (this.text !== before) this.known = this.found = nodesIn(this.text);
    } catch (cause) {
      this.found = new Error(`${this.path} cannot be used: ${(cause as Error).message}`, { cause });
    }
    return this.text !== before;
  }
}

/** @throws Error saying what is wrong. */
function nodesIn(text: string): Nodes {
  const written: unknown = JSON.parse(text);
  if (!isRecord(written)) throw new Error('an object from node name to place was expected');
  const problems = Object.entries(written).flatMap(([name, place]): Problem[] => {
    const path = printable(name);
    const named = isNodeName(name) ? [] : [{ path, expected: NODE_NAME_RULE }];
    return [...named, ...check(NodeLocationOptions, place, path)];
  });
  if (problems.length === 0) return new Map(Object.entries(written as Record<string, NodeLocationOptions>));
  const isLong = problems.length > MOST_PROBLEMS;
  throw new GenRpcConfigError(isLong ? `it, the first of ${problems.length}` : 'it', problems.slice(0, MOST_PROBLEMS));
}
