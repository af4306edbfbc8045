// Opens /docs in a real browser and executes calls as they are prefilled.
//
// Usage: docs-page.mjs URL SCREENSHOT_FOLDER. COMMUNAL_TOKEN is the token of the demo's HC operator, COMMUNAL_BROWSER the browser.

import path from 'node:path';
import puppeteer from 'puppeteer-core';

const [url, screenshots] = process.argv.slice(2);
const calls = [
  ['ReceivableService', 'QueryUserArrearages', '"CODE": 0'],
  ['BookService', 'QuerySupplierBook', '"CODE": 0'],
  ['SettlementAccountService', 'QuerySettleAccounts', '"CODE": 0'],
  ['FeeItemService', 'feeConfig.listFeeConfigs', '"code": "0"'],
  ['FeeService', 'fee.listFee', '"code": "0"'],
];

const browser = await puppeteer.launch({
  executablePath: process.env.COMMUNAL_BROWSER ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-dev-shm-usage'],
});
const page = await browser.newPage();
await page.setViewport({ width: 1400, height: 1600 });
const failures = [];
page.on('pageerror', (error) => failures.push(`the page has an error: ${error}`));

// Executes an operation of the open page and returns the text of the answer. Collapses it again.
async function execute(tag, operation) {
  const block = `[id="operations-${tag}-${operation.replace('.', '\\.')}"], [id="operations-${tag}-${operation.replace('.', '_')}"]`;
  await page.evaluate((tag) => {
    const section = document.querySelector(`[id="operations-tag-${tag}"]`);
    if (section.getAttribute('data-is-open') !== 'true') section.click();
  }, tag);
  await page.waitForSelector(block);
  const found = await page.$(block);
  await found.evaluate((element) => element.querySelector('.opblock-summary-control').click());
  await page.waitForFunction((element) => element.querySelector('.try-out__btn'), {}, found);
  await found.evaluate((element) => element.querySelector('.try-out__btn').click());
  await page.waitForFunction((element) => element.querySelector('.execute'), {}, found);
  await found.evaluate((element) => element.querySelector('.execute').click());
  await page.waitForFunction((element) => element.querySelector('.live-responses-table .response-col_description'), {}, found);
  await page.waitForFunction((element) => !element.querySelector('.loading-container'), {}, found);
  const text = await found.evaluate((element) => element.querySelector('.live-responses-table').innerText);
  await found.evaluate((element) => element.scrollIntoView());
  await page.screenshot({ path: path.join(screenshots, `${operation}.png`) });
  await found.evaluate((element) => element.querySelector('.opblock-summary-control').click());
  return text;
}

try {
  await page.goto(`${url}/docs/`, { waitUntil: 'networkidle0' });
  await page.waitForSelector('.opblock-tag');
  await page.screenshot({ path: path.join(screenshots, 'docs.png') });
  await page.evaluate((token) => window.ui.preauthorizeApiKey('hcToken', token), process.env.COMMUNAL_TOKEN);
  for (const [tag, operation, expected] of calls) {
    const answer = await execute(tag, operation);
    if (!answer.includes(expected)) failures.push(`${operation}: ${answer.slice(0, 400)}`);
  }
  // A write made twice from the page is two writes: the second is refused for its name, and does not get the first answer again.
  await execute('FeeItemService', 'feeConfig.saveFeeConfig');
  const again = await execute('FeeItemService', 'feeConfig.saveFeeConfig');
  if (again.includes('idempotent-replayed') || !again.includes('已存在')) {
    failures.push(`the second write: ${again.slice(0, 400)}`);
  }
} finally {
  await browser.close();
}
for (const failure of failures) console.error(failure);
if (failures.length > 0) process.exit(1);
console.log(`${calls.length} calls and a write made twice, executed in ${url}/docs/`);
