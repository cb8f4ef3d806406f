/** Node names: `name@host`, as Erlang writes them. */
import { GenRpcError } from './errors.js';

const NODE_NAME = /^[A-Za-z0-9_.-]+@[A-Za-z0-9_.:-]+$/;
const MAX_NODE_NAME = 255;

export function isNodeName(value: unknown): value is string {
  return typeof value === 'string' && value.length <= MAX_NODE_NAME && NODE_NAME.test(value);
}

/** What `isNodeName` accepts, for messages. */
export const NODE_NAME_RULE = `name@host: letters, digits and _ . - (in the host also :), at most ${MAX_NODE_NAME} characters`;

/** The host part: by default the address to dial. @throws GenRpcError `invalid_argument`. */
export function hostOf(node: string): string {
  if (!isNodeName(node)) {
    throw new GenRpcError('invalid_argument', `A target must be ${NODE_NAME_RULE}; got ${printable(node)}.`);
  }
  return node.slice(node.indexOf('@') + 1);
}

/** One line of printable text for logs and messages, whatever a peer or a caller sent (CWE-117). */
export function printable(value: unknown, maxLength = 120): string {
  const text = typeof value === 'string' ? value.slice(0, maxLength + 1) : String(value);
  const escaped = JSON.stringify(text.length > maxLength ? `${text.slice(0, maxLength)}…` : text);
  return escaped.replace(/[^\x20-\x7e…]/gu, (char) => `\\u{${(char.codePointAt(0) ?? 0).toString(16)}}`);
}
