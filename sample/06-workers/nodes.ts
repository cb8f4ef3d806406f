/** The names of the nodes. */
export const FRONT = 'front@127.0.0.1';
export const COUNTER = 'counter@127.0.0.1';
