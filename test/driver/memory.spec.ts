import { MemoryNetwork } from '../../lib/driver/memory.driver.js';
import { systemClock } from '../../lib/driver/system.js';
import { driverCompliance } from './compliance.js';

driverCompliance({
  name: 'memory',
  make: () => {
    const network = new MemoryNetwork(systemClock);
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
