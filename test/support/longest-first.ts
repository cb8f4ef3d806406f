/** Starts the files that take longest first, so that none of them runs alone when all others have ended. */
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Each takes ten seconds or more. */
const LONG = [
  'test/samples.spec.ts',
  'test/simulation/streams.spec.ts',
  'test/faults/slow-network.spec.ts',
  'test/faults/lanes.spec.ts',
  'test/discovery/etcd-watch.spec.ts',
  'test/discovery/etcd-nodes.spec.ts',
  'test/discovery/etcd-registration.spec.ts',
  'test/discovery/etcd-access.spec.ts',
  'test/faults/discovery.spec.ts',
  'test/faults/silent-network.spec.ts',
  'test/gen-rpc/integration.spec.ts',
  'test/readme.spec.ts',
  'test/docs.spec.ts',
  'test/faults/blocked-loop.spec.ts',
  'test/faults/stopped-peer.spec.ts',
  'test/faults/crowded-door.spec.ts',
  'test/faults/tls-crowd.spec.ts',
  'test/faults/flow-control-abandoned.spec.ts',
  'test/faults/buffers.spec.ts',
];

/** Lower is earlier; all others come behind, as they came. */
function rank({ moduleId }: TestSpecification): number {
  const index = LONG.findIndex((file) => moduleId.endsWith(`/${file}`));
  return index < 0 ? LONG.length : index;
}

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    return (await super.sort(files)).toSorted((a, b) => rank(a) - rank(b));
  }
}
