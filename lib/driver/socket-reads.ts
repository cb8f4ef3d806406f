/**
 * Reads sockets into one buffer for all of them. Node would make one of 64 KiB for every read, which V8 counts against
 * the heap: with them, an echo of 500 KB ends in a mark-compact every 14 calls; without them it makes half as many calls
 * again a second, and one of 64 KiB twice as many.
 */
import { inspect } from 'node:util';
import { Socket, type OnReadOpts, type SocketConstructorOpts } from 'node:net';

/** One read fills it and is over before the next: nobody else's bytes are ever in it. */
const SHARED = Buffer.allocUnsafeSlow(256 * 1024);
// Whoever prints a node, or a socket, means neither its bulk nor what somebody else has sent.
Object.defineProperty(SHARED, inspect.custom, { value: () => '<what was read last>' });

/** What a socket reads, for whoever takes it. Bytes are there until `onBytes` returns. */
export class SocketReads implements OnReadOpts {
  readonly buffer = SHARED;
  /** `false` stops the reading until the socket is resumed. */
  onBytes: ((bytes: Buffer) => boolean) | undefined;

  /** Called by Node. */
  readonly callback = (length: number): boolean => this.onBytes?.(SHARED.subarray(0, length)) ?? true;
}

interface Handled {
  _handle: { useUserBuffer?: unknown } | null;
}

/**
 * A server's sockets know no `onread`, which is an option of the constructor. So an accepted one, which must not have
 * begun to read, gives its handle to one that is made with it. `undefined` where Node's insides are not what they were:
 * then it is read as Node does.
 */
export function readingInto(reads: SocketReads, accepted: Socket): Socket | undefined {
  const { _handle: handle } = accepted as unknown as Handled;
  if (typeof handle?.useUserBuffer !== 'function') return undefined;
  const options = { handle, onread: reads, manualStart: true } as SocketConstructorOpts;
  const socket = new Socket(options);
  (accepted as unknown as Handled)._handle = null;
  // The server counts the one that it accepted.
  socket.once('close', () => accepted.destroy());
  return socket;
}
