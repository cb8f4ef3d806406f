/** What all nodes of a sample share. Yours comes from where you keep secrets; make it with `openssl rand -base64 32`. */
import { randomBytes } from 'node:crypto';

export const secret = process.env['GEN_RPC_SECRET'] ?? randomBytes(32).toString('base64');
