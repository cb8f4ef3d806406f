import { GenRpcError } from '../errors.js';

/** Why payload bytes are not decoded. `rule` says what is wrong, and what is allowed where that is not plain. */
export function refused(offset: number, rule: string): GenRpcError {
  return new GenRpcError('protocol_error', `Payload refused at byte ${offset}: ${rule}.`);
}

export function hex(byte: number): string {
  return `0x${byte.toString(16).padStart(2, '0')}`;
}
