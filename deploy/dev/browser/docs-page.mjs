// Opens /docs in a real browser and executes calls as they are prefilled.
//
// Usage: docs-page.mjs URL SCREENSHOT_FOLDER. COMMUNAL_TOKEN is the token of the demo's HC operator, COMMUNAL_BROWSER the browser.

import path from 'node:path';
import puppeteer from 'puppeteer-core';

const [url, screenshots] = process.argv.slice(2);
const calls = [
  ['ReceivableService', '/Service/v1/QueryUserArrearages/', '"CODE": 0'],
  ['BookService', '/Service/v1/QuerySupplierBook/', '"CODE": 0'],
  ['SettlementAccountService', '/Service/v1/QuerySettleAccounts/', '"CODE": 0'],
  ['FeeItemService', '/app/feeConfig.listFeeConfigs', '"code": "0"'],
  ['FeeService', '/app/fee.listFee', '"code": "0"'],
];

const browser = await puppeteer.launch({
  executablePath: process.env.COMMUNAL_BROWSER ?? '/usr/bin/chromium',
  // As root, and in containers with little shared memory.
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu', '--disable-quic', '--no-first-run'],
});
const page = await browser.newPage();
await page.setViewport({ width: 1400, height: 1600 });
const failures = [];
page.on('pageerror', (error) => failures.push(`the page has an error: ${error}`));

// Executes an operation of the open page and returns the text of the answer. Collapses it again.
async function execute(tag, route) {
  const block = `.opblock:has([data-path="${route}"])`;
  await page.evaluate((tag) => {
    const section = document.querySelector(`[id="operations-tag-${tag}"]`);
    if (section.getAttribute('data-is-open') !== 'true') section.click();
  }, tag);
  await page.waitForSelector(block);
  const found = await page.$(block);
  await found.evaluate((element) => element.querySelector('.opblock-summary-control').click());
  await page.waitForFunction((element) => element.querySelector('.try-out__btn'), {}, found);
  // An operation that was tried before is ready still.
  await found.evaluate((element) => element.querySelector('.try-out__btn:not(.cancel)')?.click());
  await page.waitForFunction((element) => element.querySelector('.execute'), {}, found);
  const answered = page.waitForResponse((response) => new URL(response.url()).pathname === route);
  await found.evaluate((element) => element.querySelector('.execute').click());
  const trace = (await answered).headers()['x-trace-id'];
  const shows = (element, trace) => element.querySelector('.live-responses-table')?.innerText.includes(trace);
  await page.waitForFunction(shows, {}, found, trace);
  const text = await found.evaluate((element) => element.querySelector('.live-responses-table').innerText);
  await found.evaluate((element) => element.scrollIntoView());
  await page.screenshot({ path: path.join(screenshots, `${route.split('/').findLast((part) => part)}.png`) });
  await found.evaluate((element) => element.querySelector('.opblock-summary-control').click());
  return text;
}

try {
  await page.goto(`${url}/docs/`, { waitUntil: 'networkidle0' });
  await page.waitForSelector('.opblock-tag');
  await page.screenshot({ path: path.join(screenshots, 'docs.png') });
  await page.evaluate((token) => window.ui.preauthorizeApiKey('hcToken', token), process.env.COMMUNAL_TOKEN);
  for (const [tag, route, expected] of calls) {
    const answer = await execute(tag, route);
    if (!answer.includes(expected)) failures.push(`${route}: ${answer.slice(0, 400)}`);
  }
  // A write made twice from the page is two writes: the second is refused for its name, and does not get the first answer again.
  await execute('FeeItemService', '/app/feeConfig.saveFeeConfig');
  const again = await execute('FeeItemService', '/app/feeConfig.saveFeeConfig');
  if (again.includes('idempotent-replayed') || !again.includes('已存在')) {
    failures.push(`the second write: ${again.slice(0, 400)}`);
  }
} catch (error) {
  failures.push(String(error));
} finally {
  await browser.close();
}
for (const failure of failures) console.error(failure);
if (failures.length > 0) process.exit(1);
console.log(`${calls.length} calls and a write made twice, executed in ${url}/docs/`);
