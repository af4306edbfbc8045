// Makes the bills of a community that are due and says who owes most then, as a nightly job would.
//
// Usage: node nightly-bills.mjs [ADDRESS]. COMMUNAL_TOKEN is a bearer token of the operator (`./dev token` prints the demo's); app and
// community come from COMMUNAL_APP_ID and COMMUNAL_COMMUNITY_ID. The contract is read from proto/ at start, nothing is generated.

import path from 'node:path';
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';

const proto = fileURLToPath(new URL('../../../proto', import.meta.url));
const files = ['bill_rules.proto', 'fees.proto'].map((file) => path.join('communal/community/v1', file));
// Field names as in the contract, numbers of 64 bits and codes as texts.
const options = { includeDirs: [proto], keepCase: true, longs: String, enums: String, defaults: true };
const { communal } = grpc.loadPackageDefinition(loader.loadSync(files, options));

const serviceConfig = {
  methodConfig: [
    {
      name: [{ service: 'communal.community.v1.BillRuleService' }, { service: 'communal.community.v1.FeeService' }],
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: '0.2s',
        maxBackoff: '5s',
        backoffMultiplier: 3,
        retryableStatusCodes: ['UNAVAILABLE', 'RESOURCE_EXHAUSTED', 'ABORTED'],
      },
    },
  ],
};

const address = process.argv[2] ?? '127.0.0.1:50052';
const community = process.env.COMMUNAL_COMMUNITY_ID ?? '10001';
const token = process.env.COMMUNAL_TOKEN;
if (!token) {
  console.error('COMMUNAL_TOKEN is not set: the operator of the job has a token');
  process.exit(64);
}

const credentials = grpc.credentials.createInsecure();
const channelOptions = { 'grpc.service_config': JSON.stringify(serviceConfig) };
const bills = new communal.community.v1.BillRuleService(address, credentials, channelOptions);
const fees = new communal.community.v1.FeeService(address, credentials, channelOptions);
const metadata = new grpc.Metadata();
metadata.set('x-channel-id', process.env.COMMUNAL_APP_ID ?? 'micro-community');
metadata.set('authorization', `Bearer ${token}`);
const deadline = () => ({ deadline: new Date(Date.now() + 600_000) });

// An amount like "12.5" in ten-thousandths. JavaScript's numbers would round it.
function tenThousandths(text) {
  const parts = /^(-?)(\d+)(?:\.(\d{1,4}))?$/.exec(text);
  if (!parts) throw new Error(`${text} is not an amount with four decimals`);
  const size = BigInt(parts[2] + (parts[3] ?? '').padEnd(4, '0'));
  return parts[1] ? -size : size;
}

function print(amount) {
  const digits = amount.toString().padStart(5, '0');
  return `${digits.slice(0, -4)}.${digits.slice(-4)}`;
}

try {
  let run;
  for await (const progress of bills.RunBillRules({ community_id: community }, metadata, deadline())) run = progress;
  console.log(`community ${community}: ${run.rules} rules, ${run.bills} bills made, ${run.ended} rules ended`);

  const owed = new Map();
  for await (const { fee } of fees.StreamOweFees({ community_id: community }, metadata, deadline())) {
    const before = owed.get(fee.payer_obj_name) ?? 0n;
    owed.set(fee.payer_obj_name, before + tenThousandths(fee.owe_fee));
  }
  const debtors = [...owed].filter(([, amount]) => amount > 0n).sort(([, a], [, b]) => (a < b ? 1 : -1));
  console.log(`${debtors.length} payers owe ${print(debtors.reduce((sum, [, amount]) => sum + amount, 0n))}; the most:`);
  for (const [payer, amount] of debtors.slice(0, 5)) console.log(`  ${payer}  ${print(amount)}`);
} catch (error) {
  // The stable reason is in ErrorInfo; the text says it too.
  console.error(`${grpc.status[error.code] ?? 'ERROR'}: ${error.details ?? error.message}`);
  process.exitCode = 1;
} finally {
  bills.close();
  fees.close();
}
