'use strict';

// A front end on another origin, through its days: every request that it makes is counted, so that nothing goes round in
// circles. Wants EDGE, the URL of a platform; SIGNING_KEY, the file of its issuer's key; and EXPIRED_COOKIE, the refresh
// token of a session that has expired.

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const fs = require('node:fs');
const test = require('node:test');
const { createAuth } = require('./auth.js');
const { Page } = require('./browser.js');

const { EDGE, SIGNING_KEY, EXPIRED_COOKIE } = process.env;
const ORIGIN = 'http://localhost:3000';
const PASSWORD = 'a calm orange lighthouse';
const KEY = crypto.createPrivateKey(fs.readFileSync(SIGNING_KEY));

const opened = [];

function open({ origin = ORIGIN, jar, together } = {}) {
  const page = new Page(origin, jar);
  const auth = createAuth({ baseURL: EDGE, adapter: page.adapter, together });
  opened.push(auth);
  return { page, auth };
}

test.afterEach(() => opened.splice(0).forEach((auth) => auth.unmount()));

/** A page on which somebody new has just registered. */
async function someone(options) {
  const { page, auth } = open(options);
  const email = `${crypto.randomUUID()}@example.com`;
  await auth.register({ email, password: PASSWORD, name: 'Ada' });
  assert.deepEqual(page.takeSent(), ['POST /v1/auth/register 201']);
  return { page, auth, email };
}

/** As if the page had been left alone until its access token had expired: the same token, made that much earlier. */
function wait(auth) {
  const [header, payload] = auth.state.accessToken.split('.');
  const claims = JSON.parse(Buffer.from(payload, 'base64url'));
  const ago = claims.exp - claims.iat + 120;
  for (const time of ['exp', 'iat', 'auth_time']) claims[time] -= ago;
  const signed = `${header}.${Buffer.from(JSON.stringify(claims)).toString('base64url')}`;
  auth.state.accessToken = `${signed}.${crypto.sign(null, Buffer.from(signed), KEY).toString('base64url')}`;
}

/** What an authenticator app shows (RFC 6238), so many steps from now. */
function code(secret, steps = 0) {
  const bits = [...secret].map((c) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')).join('');
  const key = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
  const counter = Buffer.alloc(8);
  counter.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000) + steps));
  const mac = crypto.createHmac('sha1', key).update(counter).digest();
  const digits = mac.readUInt32BE(mac[19] & 15) & 0x7fffffff;
  return String(digits % 1_000_000).padStart(6, '0');
}

/** That a promise fails with this answer. */
async function refused(promise, status, reason) {
  const error = await promise.then(() => assert.fail('it was not refused'), (failure) => failure);
  assert.deepEqual([error.response?.status, error.response?.data.reason], [status, reason], error);
  return error.response;
}

/** Five requests whose first answers come at the same time. */
function askAtOnce(page, auth) {
  page.collect(5);
  return Promise.allSettled(Array.from({ length: 5 }, () => auth.api.get('/api/positions')));
}

function isOut(auth) {
  assert.deepEqual(auth.state, { user: null, accessToken: null });
}

test('whoever logs in is in, with a refresh token that no script sees', async () => {
  const { email } = await someone();
  const { page, auth } = open();
  const answer = await auth.login(email, PASSWORD);
  assert.equal(answer.refresh_token, undefined);
  assert.deepEqual(page.visibleCookies(`${EDGE}/v1/auth/refresh`), []);
  assert.equal(page.jar.getCookieStringSync(`${EDGE}/api/positions`), '');
  const positions = await auth.api.get('/api/positions');
  assert.equal(positions.data.user_id, auth.state.user.id);
  assert.ok(positions.headers['x-request-id']);
  assert.deepEqual(page.takeSent(), ['POST /v1/auth/login 200', 'GET /api/positions 200']);
  assert.deepEqual(page.preflights, [
    'POST /v1/auth/login content-type 200',
    'GET /api/positions authorization 200',
  ]);
});

test('a page that is opened again is logged in by its cookie', async () => {
  const { page: before, email } = await someone();
  const { page, auth } = open({ jar: before.jar });
  await auth.restore();
  assert.equal(auth.state.user.email, email);
  assert.deepEqual(page.takeSent(), ['POST /v1/auth/refresh 200', 'GET /v1/users/me 200']);
});

test('a wrong password is told, after one refresh that is refused', async () => {
  const { email } = await someone();
  const { page, auth } = open();
  await refused(auth.login(email, 'not my password'), 401, 'invalid_credentials');
  assert.deepEqual(page.takeSent(), ['POST /v1/auth/login 401', 'POST /v1/auth/refresh 400']);
  isOut(auth);
});

test('a wrong password on a page that is logged in is tried twice and no more', async () => {
  const { page, auth, email } = await someone();
  await refused(auth.login(email, 'not my password'), 401, 'invalid_credentials');
  assert.deepEqual(page.takeSent(), [
    'POST /v1/auth/login 401',
    'POST /v1/auth/refresh 200',
    'POST /v1/auth/login 401',
  ]);
});

test('who has failed too often is told how long to wait, and nothing is tried again', async () => {
  const { email } = await someone();
  const { page, auth } = open();
  for (let failure = 0; failure < 10; failure += 1) {
    await refused(auth.login(email, 'not my password'), 401, 'invalid_credentials');
  }
  page.takeSent();
  const answer = await refused(auth.login(email, 'not my password'), 429, 'rate_limited');
  assert.ok(Number(answer.headers['retry-after']) > 0);
  assert.deepEqual(page.takeSent(), ['POST /v1/auth/login 429']);
});

test('an access token that has expired costs one refresh and one retry', async () => {
  const { page, auth } = await someone();
  for (const path of ['/api/positions', '/v1/users/me']) {
    wait(auth);
    assert.equal((await auth.api.get(path)).status, 200);
    assert.deepEqual(page.takeSent(), [`GET ${path} 401`, 'POST /v1/auth/refresh 200', `GET ${path} 200`]);
  }
});

test('why it was refused can be read on the other origin', async () => {
  const { auth } = await someone();
  wait(auth);
  const answer = await refused(auth.api.get('/api/positions', { tried: true }), 401, 'token_expired');
  assert.match(answer.headers['www-authenticate'], /^Bearer .*error="invalid_token"/);
});

test('a request with a body is retried as it was', async () => {
  const { page, auth } = await someone();
  wait(auth);
  const made = await auth.api.post('/alerts', { symbol: 'AAPL', above: 200.5 });
  assert.deepEqual([made.status, made.data.symbol, made.data.above], [201, 'AAPL', 200.5]);
  assert.deepEqual(page.takeSent(), ['POST /alerts 401', 'POST /v1/auth/refresh 200', 'POST /alerts 201']);
  assert.deepEqual((await auth.api.get('/alerts')).data.length, 1);
});

test('requests that are refused at the same time share one refresh', async () => {
  const { page, auth } = await someone();
  wait(auth);
  const answers = await askAtOnce(page, auth);
  assert.deepEqual(answers.map(({ value }) => value?.status), [200, 200, 200, 200, 200]);
  const sent = page.takeSent();
  const count = (line) => sent.filter((one) => one === line).length;
  assert.deepEqual([count('GET /api/positions 401'), count('POST /v1/auth/refresh 200'), count('GET /api/positions 200')], [5, 1, 5]);
  assert.equal(sent.length, 11);
});

test('a front end whose requests refresh each for itself stays in, too', async () => {
  const { page, auth } = await someone({ together: false });
  await auth.restore();
  page.takeSent();
  wait(auth);
  const answers = await askAtOnce(page, auth);
  assert.deepEqual(answers.map(({ value }) => value?.status), [200, 200, 200, 200, 200]);
  const sent = page.takeSent();
  assert.equal(sent.filter((line) => line === 'POST /v1/auth/refresh 200').length, 5);
  assert.equal(sent.length, 15);
  await auth.restore();
  assert.deepEqual(page.takeSent(), ['POST /v1/auth/refresh 200', 'GET /v1/users/me 200']);
});

test('a session that has expired ends in being logged out', async () => {
  const { page, auth } = open();
  const expired = `refresh_token=${EXPIRED_COOKIE}; Path=/v1/auth; HttpOnly; SameSite=Strict`;
  page.jar.setCookieSync(expired, `${EDGE}/v1/auth/login`, { sameSiteContext: 'strict' });
  const answer = await refused(auth.restore(), 400, 'session_expired');
  assert.equal(answer.data.error, 'invalid_grant');
  isOut(auth);
  assert.deepEqual(page.takeSent(), ['POST /v1/auth/refresh 400']);
});

test('a session that was ended elsewhere ends in being logged out, after one refresh that is refused', async () => {
  const { page, auth, email } = await someone();
  const other = open();
  await other.auth.login(email, PASSWORD);
  await other.auth.logout({ everywhere: true });
  assert.deepEqual(other.page.takeSent(), ['POST /v1/auth/login 200', 'POST /v1/auth/logout 204']);
  wait(auth);
  await refused(auth.api.get('/api/positions'), 401, 'token_expired');
  assert.deepEqual(page.takeSent(), ['GET /api/positions 401', 'POST /v1/auth/refresh 400']);
  isOut(auth);
  // The page goes on without a token, and what it asks is refused once more and not again and again.
  await refused(auth.api.get('/api/positions'), 401, 'missing_credential');
  assert.deepEqual(page.takeSent(), ['GET /api/positions 401', 'POST /v1/auth/refresh 400']);
});

test('of several requests at the end of a session, each is refused once', async () => {
  const { page, auth, email } = await someone();
  const other = open();
  await other.auth.login(email, PASSWORD);
  await other.auth.logout({ everywhere: true });
  wait(auth);
  const answers = await askAtOnce(page, auth);
  assert.deepEqual(answers.map(({ reason }) => reason?.response.status), [401, 401, 401, 401, 401]);
  const sent = page.takeSent();
  assert.equal(sent.filter((line) => line === 'GET /api/positions 401').length, 5);
  assert.deepEqual(sent.filter((line) => !line.startsWith('GET')), ['POST /v1/auth/refresh 400']);
});

test('the timer refreshes a minute before the access token expires, and not after a logout', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { page, auth } = await someone();
  t.mock.timers.tick(13 * 60_000);
  assert.equal(auth.refreshing(), null);
  for (let round = 0; round < 3; round += 1) {
    t.mock.timers.tick(60_000);
    await auth.refreshing();
    assert.deepEqual(page.takeSent(), ['POST /v1/auth/refresh 200']);
    t.mock.timers.tick(13 * 60_000);
    assert.equal(auth.refreshing(), null);
  }
  await auth.logout();
  t.mock.timers.tick(60 * 60_000);
  assert.equal(auth.refreshing(), null);
  assert.deepEqual(page.takeSent(), ['POST /v1/auth/logout 204']);
});

test('the timer stops when its refresh is refused', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const { page, auth } = await someone();
  page.jar.removeAllCookiesSync();
  t.mock.timers.tick(14 * 60_000);
  await assert.rejects(auth.refreshing());
  t.mock.timers.tick(60 * 60_000);
  assert.equal(auth.refreshing(), null);
  assert.deepEqual(page.takeSent(), ['POST /v1/auth/refresh 400']);
  isOut(auth);
});

test('with a second factor nobody is in before the code, and a wrong one starts no refresh', async () => {
  const { auth: settings, email } = await someone();
  const { secret } = (await settings.api.post('/v1/auth/mfa/totp/setup')).data;
  const { backup_codes: backup } = (await settings.api.post('/v1/auth/mfa/totp/enable', { code: code(secret) })).data;

  const { page, auth } = open();
  const { status, session_token: waiting } = await auth.login(email, PASSWORD);
  assert.equal(status, 'mfa_required');
  isOut(auth);
  assert.deepEqual(page.takeSent(), ['POST /v1/auth/login 200']);
  const right = code(secret, 1);
  const near = [-2, -1, 0, 1, 2].map((steps) => code(secret, steps));
  const wrong = ['000000', '111111', '222222', '333333', '444444', '555555'].find((guess) => !near.includes(guess));
  await refused(auth.verify(waiting, wrong), 403, 'wrong_code');
  await refused(auth.verify(waiting, 'no code'), 422, 'invalid_fields');
  assert.deepEqual(page.takeSent(), ['POST /v1/auth/mfa/verify 403', 'POST /v1/auth/mfa/verify 422']);
  await auth.verify(waiting, right);
  assert.equal(auth.state.user.mfa_enabled, true);
  await auth.restore();
  assert.deepEqual(page.takeSent(), [
    'POST /v1/auth/mfa/verify 200',
    'POST /v1/auth/refresh 200',
    'GET /v1/users/me 200',
  ]);

  const other = open();
  const { session_token: again } = await other.auth.login(email, PASSWORD);
  await other.auth.verify(again, backup[0]);
  await refused(other.auth.verify(again, backup[1]), 401, 'login_expired');
  assert.deepEqual(other.page.takeSent(), [
    'POST /v1/auth/login 200',
    'POST /v1/auth/mfa/verify 200',
    'POST /v1/auth/mfa/verify 401',
    'POST /v1/auth/refresh 200',
    'POST /v1/auth/mfa/verify 401',
  ]);
});

test('whoever logs out is out, also with an access token that has expired', async () => {
  const { page, auth } = await someone();
  wait(auth);
  await auth.logout();
  isOut(auth);
  assert.equal(page.jar.getCookieStringSync(`${EDGE}/v1/auth/refresh`), '');
  await refused(auth.restore(), 400, 'missing_token');
  await auth.logout();
  assert.deepEqual(page.takeSent(), [
    'POST /v1/auth/logout 204',
    'POST /v1/auth/refresh 400',
    'POST /v1/auth/logout 204',
  ]);
});

test('whoever logs out everywhere is out on every page', async () => {
  const { page, auth, email } = await someone();
  const others = [open(), open()];
  for (const other of others) await other.auth.login(email, PASSWORD);
  await auth.logout({ everywhere: true });
  assert.deepEqual(page.takeSent(), ['POST /v1/auth/logout 204']);
  for (const other of others) {
    other.page.takeSent();
    await refused(other.auth.restore(), 400, 'session_revoked');
    assert.deepEqual(other.page.takeSent(), ['POST /v1/auth/refresh 400']);
    isOut(other.auth);
  }
});

test('a page of an origin that is not listed gets nothing', async () => {
  const { page: before, email } = await someone();
  const { page, auth } = open({ origin: 'http://localhost:3001', jar: before.jar });
  const network = { code: 'ERR_NETWORK' };
  await assert.rejects(auth.login(email, PASSWORD), network);
  assert.deepEqual(page.takeSent(), []);
  // What needs no preflight is sent, and is of no use: the cookie is not taken from there, and nothing can be read.
  await assert.rejects(auth.restore(), network);
  await assert.rejects(auth.api.get('/api/health'), network);
  assert.deepEqual(page.takeSent(), ['POST /v1/auth/refresh 403', 'GET /api/health 200']);
});
