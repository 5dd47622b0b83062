'use strict';

// The login of a typical front end: an AuthContext, here without React; an interceptor that refreshes on 401 and tries
// once more; a timer a minute before the access token expires. The access token is kept in memory, the refresh token in
// a cookie that no script sees. Everything goes through one axios instance, a refresh too, as it does in many.

const axios = require('axios');

const MINUTE = 60_000;

/** With `together`, requests that need a refresh at the same time share one. */
function createAuth({ baseURL, adapter, together = true }) {
  const api = axios.create({ baseURL, adapter, withCredentials: true });
  const state = { user: null, accessToken: null };
  let timer;
  let refreshing = null;

  function signIn({ access_token, expires_in, user }) {
    state.accessToken = access_token;
    state.user = user ?? state.user;
    clearTimeout(timer);
    timer = setTimeout(() => refresh().catch(() => {}), expires_in * 1000 - MINUTE);
  }

  function signOut() {
    clearTimeout(timer);
    state.accessToken = null;
    state.user = null;
  }

  async function exchange() {
    try {
      const { data } = await api.post('/v1/auth/refresh');
      signIn(data);
    } catch (error) {
      signOut();
      throw error;
    }
  }

  function refresh() {
    if (!together) return exchange();
    refreshing ??= exchange().finally(() => { refreshing = null; });
    return refreshing;
  }

  api.interceptors.request.use((config) => {
    if (state.accessToken) config.headers.Authorization = `Bearer ${state.accessToken}`;
    return config;
  });

  api.interceptors.response.use(undefined, async (error) => {
    const { config, response } = error;
    if (response?.status !== 401 || config.tried) throw error;
    config.tried = true;
    await refresh().catch(() => { throw error; });
    return api(config);
  });

  async function enter(path, body) {
    const { data } = await api.post(path, body);
    if (data.status !== 'mfa_required') signIn(data);
    return data;
  }

  return {
    api,
    state,
    register: (account) => enter('/v1/auth/register', account),
    login: (email, password) => enter('/v1/auth/login', { email, password }),
    verify: (session_token, code) => enter('/v1/auth/mfa/verify', { session_token, code }),
    /** When the page is opened: whoever has the cookie is still logged in. */
    async restore() {
      await refresh();
      const { data } = await api.get('/v1/users/me');
      state.user = data;
    },
    /** When the page is left. */
    unmount: () => clearTimeout(timer),
    /** The refresh under way, if there is one. */
    refreshing: () => refreshing,
    async logout({ everywhere = false } = {}) {
      await api.post('/v1/auth/logout', { all_devices: everywhere });
      signOut();
    },
  };
}

module.exports = { createAuth };
