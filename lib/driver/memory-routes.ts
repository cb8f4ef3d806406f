/** What lies between the hosts of a network in memory, and changes while a test runs: delays and partitions. */
export class MemoryRoutes {
  private readonly delays = new Map<string, number>();
  private groups: readonly ReadonlySet<string>[] = [];

  /** ms that every delivery between the two takes, both ways; 0: none. */
  delay(one: string, other: string, ms: number): void {
    if (ms > 0) this.delays.set(keyOf(one, other), ms);
    else this.delays.delete(keyOf(one, other));
  }

  /** `undefined`: none. */
  delayBetween(one: string, other: string): number | undefined {
    return this.delays.get(keyOf(one, other));
  }

  /** Hosts of one group reach each other and hosts that are in no group, but none of another one. */
  partition(groups: readonly (readonly string[])[]): void {
    this.groups = groups.map((group) => new Set(group));
  }

  areApart(one: string, other: string): boolean {
    const [ours, theirs] = [this.groupOf(one), this.groupOf(other)];
    return ours !== undefined && theirs !== undefined && ours !== theirs;
  }

  private groupOf(host: string): ReadonlySet<string> | undefined {
    return this.groups.find((group) => group.has(host));
  }
}

function keyOf(one: string, other: string): string {
  return [one, other].sort().join('\0');
}
