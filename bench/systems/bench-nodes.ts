/** The nodes of the systems that are ours. */
import { credentials } from '../certificates.js';
import { HOST } from '../host.js';
import type { Wire } from './wire.js';

export const SERVER_NAME = 'bench@127.0.0.1';

/** Of connections that last for one run and never leave this machine. */
const SECRET = 'only-loopback-ever-sees-this';
/** Room for 64 callers with half a megabyte each. */
const MAX_QUEUED_BYTES = 64 * 1024 * 1024;

export const SERVER_OPTIONS = {
  name: SERVER_NAME,
  secret: SECRET,
  listen: { host: HOST, port: 0, allowPlaintext: true },
  maxQueuedBytes: MAX_QUEUED_BYTES,
  // A bench is overload: what it measures is not to be refused.
  concurrency: { loopDelay: Infinity },
} as const;

export const serverOptions = (wire: Wire) => {
  return wire === 'tcp' ? SERVER_OPTIONS : { ...SERVER_OPTIONS, tls: credentials(), listen: { host: HOST, port: 0 } };
};

let clients = 0;

/** Each has a name of its own: the server closes the older of two connections of one name. */
export const clientOptions = (port: number, wire: Wire = 'tcp') => ({
  name: `caller-${process.pid}-${(clients += 1)}@127.0.0.1`,
  secret: SECRET,
  listen: false as const,
  nodes: { [SERVER_NAME]: { host: HOST, port } },
  maxQueuedBytes: MAX_QUEUED_BYTES,
  ...(wire === 'tls' && { tls: credentials() }),
});
