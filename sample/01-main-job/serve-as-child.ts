/** What both serving nodes do as processes: read their settings, tell where they listen, and leave when told to. */
import type { Type } from '@nestjs/common';
import type { GenRpcOptions } from 'nestjs-gen-rpc';
import { serve } from '../serve.js';

/** As main.ts handed them over. */
export function options(): GenRpcOptions {
  return JSON.parse(process.env['GEN_RPC_OPTIONS'] ?? '{}') as GenRpcOptions;
}

export async function serveAsChild(module: Type): Promise<void> {
  const { app, port } = await serve(module);
  app.enableShutdownHooks();
  process.send?.({ port });
  // A node whose starter is gone must not stay behind.
  process.once('disconnect', () => void app.close().then(() => process.exit(0)));
}
