/** What a node does where it is told nothing. */
import { DEFAULT_MAX_MESSAGE_BYTES } from '../protocol/frame.js';
import type { GenRpcOptions } from './options.js';

/** Defaults of everything that has one. */
export const DEFAULT_OPTIONS = {
  codec: 'msgpackr',
  callTimeout: 15_000,
  sbcastTimeout: 15_000,
  inheritDeadlines: true,
  clientInactivityTimeout: Infinity,
  serverInactivityTimeout: Infinity,
  asyncCallInactivityTimeout: Infinity,
  connectTimeout: 5_000,
  handshakeTimeout: 5_000,
  sendTimeout: 5_000,
  frameReadTimeout: 30_000,
  gracePeriod: 10_000,
  gracefulShutdown: true,
  maxMessageBytes: DEFAULT_MAX_MESSAGE_BYTES,
  maxQueuedBytes: 64 * 1024 * 1024,
  maxBufferedBytes: 256 * 1024 * 1024,
  maxWindow: 16 * 1024 * 1024,
  maxQueuedCasts: 10_000,
  maxLanesPerNode: 16,
  maxLanes: 4096,
  castLanes: 'shared',
  moduleControl: 'disabled',
  moduleList: [],
  duplicateNodes: 'newest',
  exposeErrors: false,
} as const satisfies Partial<GenRpcOptions>;
