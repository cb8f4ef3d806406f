/** Where casts stand in a connection's stream that may not have left yet: nobody waits for them, but a loss is counted. */

const KEPT = 1024;

export class UnsentCasts {
  private positions: number[] = [];
  private count = 0;

  add(position: number): void {
    this.positions[this.count] = position;
    this.count += 1;
  }

  /** All of them have left. The array is kept unless a slow peer has made it a large one: most are taken one by one. */
  clear(): void {
    this.count = 0;
    if (this.positions.length > KEPT) this.positions = [];
  }

  /** How many have not left, going by what the connection says of a position. */
  lost(hasLeft: (position: number) => boolean): number {
    return this.positions.slice(0, this.count).filter((position) => !hasLeft(position)).length;
  }
}
