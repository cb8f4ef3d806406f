/** What the gRPC systems serve, as a `.proto` file would say it. */
import { fromJSON } from '@grpc/proto-loader';

interface Field {
  type: string;
  id: number;
}

const numberAt = (id: number): Field => ({ type: 'double', id });
const countAt = (id: number): Field => ({ type: 'uint32', id });

const method = (requestType: string, responseType: string, responseStream = false) => {
  return { requestType, responseType, responseStream, comment: '' };
};

export const PACKAGE_NAME = 'bench';
export const SERVICE_NAME = 'Math';

export const PACKAGE = fromJSON({
  nested: {
    [PACKAGE_NAME]: {
      nested: {
        Pair: { fields: { a: numberAt(1), b: numberAt(2) } },
        Sum: { fields: { value: numberAt(1) } },
        Wish: { fields: { items: countAt(1), size: countAt(2) } },
        Item: { fields: { n: countAt(1) } },
        Bytes: { fields: { bytes: { type: 'bytes', id: 1 } } },
        [SERVICE_NAME]: {
          methods: {
            add: method('Pair', 'Sum'),
            count: method('Wish', 'Item', true),
            echo: method('Bytes', 'Bytes'),
            fetch: method('Wish', 'Bytes'),
          },
        },
      },
    },
  },
});

export interface Pair {
  a: number;
  b: number;
}
export interface Sum {
  value: number;
}
export interface Wish {
  items?: number;
  size?: number;
}
export interface Item {
  n: number;
}
export interface Bytes {
  bytes: Buffer;
}
