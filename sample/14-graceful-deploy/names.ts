/** What both sides know. */
export const STOCK = 'stock@127.0.0.1';

export interface Recount {
  /** The version that did it. */
  by: string;
  /** The shelf to go on with. */
  upTo: number;
}
