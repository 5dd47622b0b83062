'use strict';

// What a browser does about a request of a page's script, as far as a login depends on it (Fetch, "HTTP-network-or-cache
// fetch" and "CORS protocol"): the page's origin, preflights, which answers a script may read and which of their headers,
// and cookies that no script sees. It is an adapter of axios, which sends by axios's own for Node.

const assert = require('node:assert/strict');
const { inspect } = require('node:util');
const axios = require('axios');
const { CookieJar } = require('tough-cookie');

const send = axios.getAdapter('http');

// Of a failed test, which request it was; axios's own way shows all of it, with tokens and passwords.
axios.AxiosError.prototype[inspect.custom] = function show() {
  return `${this.stack}\n  at ${this.config?.method} ${this.config?.url} ${JSON.stringify(this.response?.data)}`;
};

const SIMPLE_METHODS = ['GET', 'HEAD', 'POST'];
const SIMPLE_HEADERS = ['accept', 'accept-language', 'content-language'];
const SIMPLE_TYPES = ['application/x-www-form-urlencoded', 'multipart/form-data', 'text/plain'];
const READABLE_HEADERS = ['cache-control', 'content-language', 'content-length', 'content-type', 'expires', 'last-modified', 'pragma'];
const AGENT = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0';

const list = (text = '') => text.split(',').map((item) => item.trim().toLowerCase()).filter(Boolean);
const site = (url) => `${url.protocol}//${url.hostname}`;

class Page {
  constructor(origin, jar = new CookieJar()) {
    this.origin = origin;
    this.jar = jar;
    this.allowed = new Set();
    /** What went over the wire, in order: `GET /api/positions 200`. */
    this.sent = [];
    this.preflights = [];
    this.held = () => {};
    this.adapter = (config) => this.fetch(config);
  }

  /** What was sent since this was asked last. */
  takeSent() {
    return this.sent.splice(0);
  }

  /** Keeps answers back until so many have come: then they have been given at the same time. */
  collect(count) {
    let left = count;
    let release;
    const all = new Promise((resolve) => { release = resolve; });
    this.held = () => {
      left -= 1;
      if (left === 0) {
        this.held = () => {};
        release();
      }
      return all;
    };
  }

  /** What the page's scripts see of its cookies at a place. */
  visibleCookies(url) {
    return this.jar.getCookiesSync(url, { http: false }).map((cookie) => cookie.key);
  }

  async fetch(config) {
    const url = new URL(axios.getUri(config));
    const method = config.method.toUpperCase();
    const headers = { ...config.headers.toJSON(), 'User-Agent': AGENT, Origin: this.origin };
    // Nothing is said of the type of a body that is not there.
    if (config.data === undefined) delete headers['Content-Type'];
    const foreign = url.origin !== this.origin;
    if (foreign) await this.preflight(url, method, headers, config);

    const credentials = config.withCredentials || !foreign;
    const own = site(url) === site(new URL(this.origin));
    const cookies = { http: true, sameSiteContext: own ? 'strict' : 'none', ignoreError: true };
    const cookie = credentials ? this.jar.getCookieStringSync(url.href, cookies) : '';
    if (cookie) headers.Cookie = cookie;
    headers['Sec-Fetch-Site'] = foreign ? (own ? 'same-site' : 'cross-site') : 'same-origin';
    headers['Sec-Fetch-Mode'] = 'cors';
    const response = await send({ ...config, headers: axios.AxiosHeaders.from(headers), validateStatus: null });
    this.sent.push(`${method} ${url.pathname} ${response.status}`);
    await this.held();
    for (const set of credentials ? response.headers['set-cookie'] ?? [] : []) {
      this.jar.setCookieSync(set, url.href, cookies);
    }

    if (foreign) this.checkMayRead(response, config);
    // No browser looks at it, and every cache between depends on it. (No cache keeps the answer to a preflight.)
    if (foreign) assert.ok(list(response.headers.vary).includes('origin'), `Vary: ${response.headers.vary}`);
    return this.shown(response, config, foreign);
  }

  /** Asks first, unless any form could have sent the same (Fetch, "CORS-preflight fetch"). */
  async preflight(url, method, headers, config) {
    const type = String(headers['Content-Type'] ?? '').split(';')[0].trim().toLowerCase();
    const unsafe = Object.keys(headers)
      .map((name) => name.toLowerCase())
      .filter((name) => !['user-agent', 'origin', 'accept-encoding', 'content-length', ...SIMPLE_HEADERS].includes(name))
      .filter((name) => name !== 'content-type' || !SIMPLE_TYPES.includes(type))
      .sort();
    if (SIMPLE_METHODS.includes(method) && unsafe.length === 0) return;
    const question = `${method} ${url.pathname} ${unsafe}`;
    if (this.allowed.has(question)) return;

    const asked = { Origin: this.origin, 'User-Agent': AGENT, 'Access-Control-Request-Method': method };
    if (unsafe.length > 0) asked['Access-Control-Request-Headers'] = unsafe.join(',');
    const request = { url: url.href, method: 'options', headers: axios.AxiosHeaders.from(asked), validateStatus: null };
    const answer = await send({ ...axios.defaults, ...request });
    this.preflights.push(`${question} ${answer.status}`);
    this.checkMayRead(answer, config);
    const methods = list(answer.headers['access-control-allow-methods']);
    const names = list(answer.headers['access-control-allow-headers']);
    const granted = SIMPLE_METHODS.includes(method) || methods.includes(method.toLowerCase());
    if (answer.status >= 300 || !granted || !unsafe.every((name) => names.includes(name))) throw blocked(config);
    // For as long as this page lives, which is shorter than that.
    if (Number(answer.headers['access-control-max-age']) >= 60) this.allowed.add(question);
  }

  checkMayRead({ headers }, config) {
    if (headers['access-control-allow-origin'] !== this.origin) throw blocked(config);
    if (config.withCredentials && headers['access-control-allow-credentials'] !== 'true') throw blocked(config);
  }

  /** The answer as the script gets it, as a failure if axios takes it for one. */
  shown(response, config, foreign) {
    const exposed = [...READABLE_HEADERS, ...list(response.headers['access-control-expose-headers'])];
    const headers = Object.entries(response.headers).filter(([name]) => {
      return name !== 'set-cookie' && (!foreign || exposed.includes(name));
    });
    const shown = { ...response, config, headers: axios.AxiosHeaders.from(Object.fromEntries(headers)) };
    if (!config.validateStatus || config.validateStatus(shown.status)) return shown;
    const code = shown.status < 500 ? axios.AxiosError.ERR_BAD_REQUEST : axios.AxiosError.ERR_BAD_RESPONSE;
    throw new axios.AxiosError(`Request failed with status code ${shown.status}`, code, config, shown.request, shown);
  }
}

/** All that a script learns of an answer that it may not read. */
function blocked(config) {
  return new axios.AxiosError('Network Error', axios.AxiosError.ERR_NETWORK, config);
}

module.exports = { Page };
