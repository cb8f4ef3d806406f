/** Where noteworthy things are said. Never called on the path of a call that succeeds. */
export interface Log {
  info(message: string): void;
  warn(message: string): void;
  error(message: string, cause?: unknown): void;
}

/** Says nothing: the default without Nest. */
export const silentLog: Log = { info() {}, warn() {}, error() {} };
