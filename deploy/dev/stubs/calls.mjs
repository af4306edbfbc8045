// Prints the calls that a Node client has: calls.mjs PROTO_FOLDER FILE…
import grpc from '@grpc/grpc-js';
import loader from '@grpc/proto-loader';

const [folder, ...files] = process.argv.slice(2);
const contract = loader.loadSync(files, { includeDirs: [folder], keepCase: true, longs: String });
grpc.loadPackageDefinition(contract);
const calls = Object.entries(contract)
  .filter(([, definition]) => !('format' in definition))
  .flatMap(([service, methods]) => Object.keys(methods).map((method) => `${service}/${method}`));
console.log(calls.sort().join('\n'));
