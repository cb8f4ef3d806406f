import { MemoryNetwork, type MemoryNetworkOptions } from '../../lib/driver/memory.driver.js';
import { systemClock } from '../../lib/system/system.js';
import { SeededRandom } from '../../lib/testing/seeded-random.js';
import { driverCompliance } from './compliance.js';

const random = new SeededRandom(1);

const LINES: readonly (readonly [string, MemoryNetworkOptions])[] = [
  ['memory', {}],
  ['memory, over a narrow line', { bandwidth: 100_000, segment: () => random.below(60_000) }],
];

for (const [name, line] of LINES) {
  driverCompliance({
    name,
    make: () => {
      const network = new MemoryNetwork(systemClock, line);
      return {
        driver: network.driver('127.0.0.1'),
        endpoint: { host: '127.0.0.1', port: 0 },
        block: () => {
          for (const link of network.links) link.hold();
          return () => network.links.forEach((link) => link.release());
        },
      };
    },
  });
}
