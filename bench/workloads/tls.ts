/** What encryption costs: a small call and a large buffer over TLS, beside TCP and beside others over TLS. */
import type { Workload } from '../workload.js';
import { add } from './add.js';
import { buffers, ROOM_NOTE } from './buffers.js';

const OURS = ['gen-rpc', 'gen-rpc-tls', 'core-tls'];
const OTHERS = ['nest-tcp-tls', 'grpc-js-tls'];
const NOTE = 'Both ends show a certificate and check that of the other. gen-rpc goes over TCP.';

export const tlsAdd: Workload = {
  ...add,
  systems: [...OURS, ...OTHERS, 'raw-tls'],
  baselines: ['gen-rpc', ...OTHERS, 'raw-tls'],
  note: NOTE,
  cases: () => [{ callers: 64 }],
};

export const tlsBuffers: Workload = {
  ...buffers,
  systems: [...OURS, ...OTHERS, 'raw-bytes-tls'],
  baselines: ['gen-rpc', ...OTHERS, 'raw-bytes-tls'],
  note: `${NOTE}\n${ROOM_NOTE}`,
  cases: (callers) => buffers.cases(callers).filter((its) => its['size'] === '500 KB' && its['callers'] === 4),
};
