/** Where the systems of this process listen or connect: loopback, unless the harness put them on a link of its own. */
export const HOST = process.env['BENCH_HOST'] ?? '127.0.0.1';
