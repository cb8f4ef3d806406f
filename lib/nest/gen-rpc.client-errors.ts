/** What errors look like to whoever uses a client: as those of Nest's own transports, or as they are. */
import { isGenRpcError, type GenRpcError } from '../protocol/errors.js';
import { printable } from '../protocol/node-name.js';
import { nestErrorOf } from './gen-rpc.exceptions.js';
import { nestLog } from './gen-rpc.log.js';

const MAX_NAMES = 10_000;
const MAX_MESSAGE = 400;

export class ClientErrors {
  private readonly told = new Set<string>();

  constructor(private readonly asNest: boolean) {}

  shown(error: unknown): unknown {
    if (!this.asNest || !isGenRpcError(error)) return error;
    if (error.code === 'undefined_function') this.tellUnknown(error);
    return nestErrorOf(error);
  }

  /** Nest's words do not say which function it is that a node does not have: the log does, once for each. */
  private tellUnknown({ call, message, help }: GenRpcError): void {
    const which = call ?? message;
    if (this.told.has(which) || this.told.size === MAX_NAMES) return;
    this.told.add(which);
    const what = call === undefined ? 'A call to the own node' : printable(call);
    nestLog.warn(`${what} failed: ${printable(message, MAX_MESSAGE)} See ${help}`);
  }
}
