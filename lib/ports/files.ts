/** Files that may be replaced while a node runs: read when somebody asks, written whole, and watched. */
export interface Files {
  /**
   * The whole file. With `most`, only a regular file of at most so many bytes. @throws the system's error, its `code`
   * kept; `EFBIG` where it has more.
   */
  read(path: string, most?: number): Buffer;
  /** Puts `text` there at once and whole, instead of what was there. @throws the system's error, its `code` kept. */
  replace(path: string, text: string): void;
  /**
   * Calls `changed` after anything happens in the directories where these files are and where links lead to; also for
   * nothing. A directory that cannot be watched, or no longer, is told to `failed`.
   */
  watch(paths: readonly string[], changed: () => void, failed: (cause: Error) => void): Watch;
}

export interface Watch {
  /** Safe to repeat. */
  close(): void;
}
