/** Where casts stand in a connection's stream that may not have left yet: nobody waits for them, but a loss is counted. */

import type { Positioned } from '../connection/outbox.js';

const LEAST_ROOM = 1024;

export class UnsentCasts implements Positioned {
  private positions: number[] = [];
  private room = LEAST_ROOM;
  private latest = 0;

  /** @param hasLeft says whether a position of the connection's stream has left */
  constructor(private readonly hasLeft: (position: number) => boolean) {}

  /** A cast begins here; `Infinity`: it waits. */
  set position(position: number) {
    if (position === Infinity) return;
    if (this.positions.length >= this.room) this.forgetThoseThatLeft();
    this.positions.push(position);
    this.latest = position;
  }

  /** Has the last that began left, or its first byte at least? */
  get latestHasLeft(): boolean {
    return this.hasLeft(this.latest);
  }

  /** Those that have not left. */
  get count(): number {
    this.forgetThoseThatLeft();
    return this.positions.length;
  }

  private forgetThoseThatLeft(): void {
    this.positions = this.positions.filter((position) => !this.hasLeft(position));
    this.room = Math.max(LEAST_ROOM, 2 * this.positions.length);
  }
}
