/** Where randomness comes from. Handed in, so that a test can repeat a run from its seed. */
export interface Random {
  /** `length` unpredictable bytes: nonces, incarnations. */
  bytes(length: number): Uint8Array;
  /** A number in [0, 1): jitter. */
  fraction(): number;
}
