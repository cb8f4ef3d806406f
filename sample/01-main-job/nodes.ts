/** The names of the nodes that are called. */
export const STOCK = 'stock@127.0.0.1';
export const PRICES = 'prices@127.0.0.1';
