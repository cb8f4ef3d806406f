/** Nest's logger as a node's log. */
import { Logger } from '@nestjs/common';
import type { Log } from '../ports/log.js';

const logger = new Logger('GenRpc');

export const nestLog: Log = {
  info: (message) => logger.log(message),
  warn: (message) => logger.warn(message),
  error: (message, cause) => logger.error(message, cause instanceof Error ? cause.stack : cause),
};
