/** For tests: a network in memory, a clock that waits for the test, randomness from a seed. */
export { MemoryLink, MemoryNetwork, type MemoryNetworkOptions } from './driver/memory.driver.js';
export { SeededRandom } from './testing/seeded-random.js';
export { VirtualClock } from './testing/virtual-clock.js';
