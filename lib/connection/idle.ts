/** Those who wait until something has nothing left to do. */
export class Idle {
  private readonly waiting: (() => void)[] = [];

  /** Resolves with the next `tell`. */
  next(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  tell(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}
