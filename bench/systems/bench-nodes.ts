/** The nodes of the systems that are ours. */

export const SERVER_NAME = 'bench@127.0.0.1';

/** Of loopback connections that last for one run. */
const SECRET = 'only-loopback-ever-sees-this';

export const SERVER_OPTIONS = { name: SERVER_NAME, secret: SECRET, listen: { port: 0 } } as const;

export const clientOptions = (port: number) => ({
  name: `caller-${process.pid}@127.0.0.1`,
  secret: SECRET,
  listen: false as const,
  nodes: { [SERVER_NAME]: { port } },
});
