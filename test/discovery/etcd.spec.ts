import { EtcdDiscovery } from '../../lib/discovery/etcd.discovery.js';
import { describeWithEtcd, Etcd } from '../support/etcd.js';
import { describeSource, type SourceWorld } from './compliance.js';

const PREFIX = '/gen-rpc/nodes/';
const place = (port: number) => ({ driver: 'tcp', host: '127.0.0.2', port });
const recordOf = (name: string, port: number) => JSON.stringify({ name, locations: [place(port)] });

describeWithEtcd('etcd', () => {
  describeSource(
    'etcd',
    async (clock) => {
      const etcd = await Etcd.start();
      const put = (name: string, port: number) => etcd.put(PREFIX + name, recordOf(name, port));
      await put('a@127.0.0.2', 7001);
      await put('b@127.0.0.2', 7002);
      const world: SourceWorld = {
        source: new EtcdDiscovery({ endpoints: [etcd.endpoint] }, { clock }),
        known: { 'a@127.0.0.2': [place(7001)], 'b@127.0.0.2': [place(7002)] },
        async change() {
          await put('c@127.0.0.2', 7003);
          await etcd.delete(`${PREFIX}a@127.0.0.2`);
          return { 'b@127.0.0.2': [place(7002)], 'c@127.0.0.2': [place(7003)] };
        },
        async spoil() {
          await etcd.put(`${PREFIX}x@127.0.0.2`, 'no JSON \u001b[31m');
          await etcd.put(`${PREFIX}y@127.0.0.2`, recordOf('b@127.0.0.2', 6666));
          await etcd.put(`${PREFIX}z@127.0.0.2`, recordOf('z@127.0.0.2', 0));
          await etcd.put(`${PREFIX}\u0000\n\u202e`, recordOf('b@127.0.0.2', 6666));
          await etcd.put(PREFIX, '[]');
          await etcd.put(`${PREFIX}big@127.0.0.2`, `${' '.repeat(1_000_000)}${recordOf('big@127.0.0.2', 7)}`);
          await etcd.put('/gen-rpc/nodes0', recordOf('beside@127.0.0.2', 7));
        },
        silence: () => etcd.stop(),
        [Symbol.asyncDispose]: () => etcd[Symbol.asyncDispose](),
      };
      return world;
    },
    { unknown: 'none' },
  );
});
