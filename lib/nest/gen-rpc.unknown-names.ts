/** Says in the log which function another node does not have: Nest's words for it, which callers get, do not. */
import type { GenRpcError } from '../protocol/errors.js';
import { printable } from '../protocol/node-name.js';
import { nestLog } from './gen-rpc.log.js';

const MAX_NAMES = 10_000;
const MAX_MESSAGE = 400;

export class UnknownNames {
  private readonly told = new Set<string>();

  /** Once for each name and node. */
  tell({ code, call, message, help }: GenRpcError): void {
    if (code !== 'undefined_function' || call === undefined) return;
    if (this.told.has(call) || this.told.size === MAX_NAMES) return;
    this.told.add(call);
    nestLog.warn(`${printable(call)} failed: ${printable(message, MAX_MESSAGE)} See ${help}`);
  }
}
