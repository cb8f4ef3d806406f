/** A process with a client: it asks once, and then has nothing left to do. */
import { GenRpcClient } from 'nestjs-gen-rpc';
import { firstValueFrom } from 'rxjs';

const { PORT, SECRET, TARGET, HOW } = process.env;
const client = new GenRpcClient({ target: TARGET, secret: SECRET, clientPort: Number(PORT) });

if (HOW !== 'unused') console.log(await firstValueFrom(client.send('echo', HOW)));
if (HOW === 'closed') {
  await client.close();
  await client.close();
}
