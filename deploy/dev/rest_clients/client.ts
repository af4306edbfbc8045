// A client that openapi-typescript generates: it compiles, and its calls are answered. Usage: client.js URL TOKEN.
import createClient from 'openapi-fetch';
import type { paths } from './contract.js';

declare const process: { argv: string[] };
const [url, token] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url! });

const arrears = await client.POST('/Service/v1/QueryUserArrearages/', {
  body: {
    SYS_HEAD: {
      CHANNEL_DID: 'C000000000000001',
      DYNAMIC_KEY: '0123456789abcdef'.repeat(4),
      REGISTER_DID: 'R000000000000001',
      ACCOUNT_DID: 'S000000000000001',
    },
    ACC_VOLPRICE_OWE: { BOOK_AID: 'B000000000000001' },
  },
});
// The code tells a reply from a refusal, for the compiler too: a refusal has no data.
if (arrears.data?.CODE !== 0) throw new Error(`refused: ${arrears.data?.CODE} ${arrears.data?.MESSAGE}`);
const lines: number = arrears.data.DATA.ACC_VOLPRICE_OWE.length;

const items = await client.GET('/app/feeConfig.listFeeConfigs', {
  params: {
    header: { 'app-id': 'micro-community', 'transaction-id': `${Date.now()}0000000`, 'req-time': '20240301083000' },
    query: { page: 1, row: 10, communityId: '10001' },
  },
  headers: { authorization: `Bearer ${token}` },
});
if (items.data?.code !== '0') throw new Error(`refused: ${items.data?.code} ${items.data?.msg}`);
console.log(`TypeScript: ${lines} lines of arrears, ${items.data.feeConfigs.length} fee items`);
