/** Nest's logger as a node's log. */
import { inspect } from 'node:util';
import { Logger } from '@nestjs/common';
import type { Log } from '../ports/log.js';

const logger = new Logger('GenRpc');

export const nestLog: Log = {
  info: (message) => logger.log(message),
  warn: (message) => logger.warn(message),
  error: (message, cause) => logger.error(message, detailsOf(cause)),
};

/** Stack, causes and properties of whatever was thrown. Some values throw when they are looked at. */
function detailsOf(cause: unknown): string {
  try {
    return inspect(cause);
  } catch {
    return 'The thrown value cannot be shown.';
  }
}
