"""Generic OAuth clients, unchanged, against a running platform: requests-oauthlib, authlib and joserfc.

Called with the URL of the edge, a new account's address and password, and the secret of the service `ticker`. Says what it
did, or fails.
"""

import sys
import time

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oauth2.rfc9068 import JWTBearerTokenValidator
from authlib.oauth2.rfc9068.claims import JWTAccessTokenClaims
from joserfc import jwt
from joserfc.jwk import KeySet
from oauthlib.oauth2 import BackendApplicationClient, InvalidClientError, InvalidGrantError, LegacyApplicationClient
from requests_oauthlib import OAuth2Session

URL, EMAIL, PASSWORD, SECRET = sys.argv[1:]
AUDIENCE = "trading_platform"


def said(what):
    print("ok", what, flush=True)


def expect_refusal(error, kind, call):
    try:
        call()
    except error as refusal:
        assert kind in repr(refusal), refusal
        return
    raise AssertionError(f"{call} was not refused")


def account():
    """A session of someone who logged in: its access token and its refresh token."""
    answer = requests.post(f"{URL}/v1/auth/login", json={"email": EMAIL, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return {name: answer.json()[name] for name in ("access_token", "refresh_token", "token_type", "expires_in")}


def me(session):
    answer = session.get(f"{URL}/v1/users/me")
    assert answer.status_code == 200 and answer.json()["email"] == EMAIL, answer.text


def is_ended(token):
    answer = requests.get(f"{URL}/v1/users/me", headers={"Authorization": f"Bearer {token['access_token']}"})
    assert (answer.status_code, answer.json()["reason"]) == (401, "revoked"), answer.text


# RFC 8414: found from the issuer's name, and sound.
metadata = AuthorizationServerMetadata(requests.get(f"{URL}/.well-known/oauth-authorization-server").json())
metadata.validate()
assert metadata["issuer"] == URL, metadata
assert metadata.grant_types_supported == ["password", "refresh_token", "client_credentials"], metadata
said("metadata")

# requests-oauthlib: the password form, a refresh that nobody asks for, a revocation.
client = LegacyApplicationClient(client_id="any")
session = OAuth2Session(client=client)
token = session.fetch_token(metadata["token_endpoint"], username=EMAIL, password=PASSWORD)
assert token["token_type"] == "bearer", token
me(session)
expect_refusal(
    InvalidGrantError,
    "Incorrect username or password",
    lambda: session.fetch_token(metadata["token_endpoint"], username=EMAIL, password="wrong wrong wrong"),
)
said("requests-oauthlib: password")

stored = account()
kept = []
expired = dict(stored, expires_in=-10, expires_at=time.time() - 10)
session = OAuth2Session("any", token=expired, auto_refresh_url=metadata["token_endpoint"], token_updater=kept.append)
me(session)
assert len(kept) == 1 and kept[0]["refresh_token"] != stored["refresh_token"], kept
me(OAuth2Session("any", token=kept[0]))
expect_refusal(
    InvalidGrantError, "", lambda: session.refresh_token(metadata["token_endpoint"], refresh_token="v1.x.y.z")
)
url, headers, body = session._client.prepare_token_revocation_request(
    metadata["revocation_endpoint"].replace("http:", "https:"), kept[0]["refresh_token"], "refresh_token"
)
assert requests.post(url.replace("https:", "http:"), headers=headers, data=body).status_code == 200
is_ended(kept[0])
said("requests-oauthlib: refresh, revoke")

# authlib: the same, and introspection.
session = AuthlibSession("any", token_endpoint_auth_method="none", revocation_endpoint_auth_method="none")
session.fetch_token(metadata["token_endpoint"], username=EMAIL, password=PASSWORD)
me(session)
expect_refusal(
    OAuthError,
    "invalid_grant",
    lambda: session.fetch_token(metadata["token_endpoint"], username=EMAIL, password="wrong wrong wrong"),
)
stored = account()
session.token = stored
refreshed = session.refresh_token(metadata["token_endpoint"], refresh_token=stored["refresh_token"])
assert refreshed["refresh_token"] != stored["refresh_token"] and refreshed["expires_in"] > 0, refreshed
me(session)
proof = {"Authorization": f"Bearer {refreshed['access_token']}"}
for name in ("access_token", "refresh_token"):
    told = session.introspect_token(metadata["introspection_endpoint"], token=refreshed[name], headers=proof)
    assert told.status_code == 200 and told.json()["active"] is True, told.text
answer = session.revoke_token(metadata["revocation_endpoint"], token=refreshed["access_token"])
assert answer.status_code == 200, answer.text
is_ended(refreshed)
said("authlib: password, refresh, introspect, revoke")

# RFC 9068, by the keys that the metadata names.
keys = KeySet.import_key_set(requests.get(metadata["jwks_uri"]).json())


class Validator(JWTBearerTokenValidator):
    """Takes EdDSA: by itself it knows the algorithms of joserfc's default, which are RSA, ECDSA and HMAC."""

    def authenticate_token(self, token_string):
        token = jwt.decode(token_string, keys, algorithms=["EdDSA"])
        essential = {"essential": True}
        options = {name: essential for name in ("exp", "sub", "client_id", "iat", "jti")}
        options["iss"] = {"essential": True, "value": self.issuer}
        options["aud"] = {"essential": True, "value": self.resource_server}
        return JWTAccessTokenClaims(token.claims, token.header, options)


validator = Validator(issuer=URL, resource_server=AUDIENCE)
claims = validator.authenticate_token(account()["access_token"])
assert claims.header["typ"] == "at+jwt", claims.header
validator.validate_token(claims, ["alerts:read"], None)
said("authlib and joserfc: RFC 9068")

# RFC 6749 §4.4: a service, by both libraries and both ways to authenticate.
endpoint = f"{URL}/v1/auth/token"
session = OAuth2Session(client=BackendApplicationClient(client_id="ticker", scope=["alerts:write"]))
token = session.fetch_token(endpoint, client_id="ticker", client_secret=SECRET)
assert token["scope"] == ["alerts:write"] and token["expires_in"] == 300, token
token = session.fetch_token(endpoint, client_secret=SECRET, include_client_id=True)
assert token["scope"] == ["alerts:write"], token
expect_refusal(
    InvalidClientError, "", lambda: session.fetch_token(endpoint, client_id="ticker", client_secret=f"{SECRET}0")
)
for method in ("client_secret_basic", "client_secret_post"):
    assert method in metadata["token_endpoint_auth_methods_supported"], metadata
    service = AuthlibSession("ticker", SECRET, token_endpoint_auth_method=method, scope="alerts:read")
    token = service.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    assert token["scope"] == "alerts:read", token
    claims = validator.authenticate_token(token["access_token"])
    validator.validate_token(claims, ["alerts:read"], None)
    assert (claims["sub"], claims["client_id"]) == ("service:ticker", "ticker"), claims
    answer = service.get(f"{URL}/v1/users/me")
    assert (answer.status_code, answer.json()["reason"]) == (403, "permission_denied"), answer.text
greedy = AuthlibSession("ticker", SECRET, scope="everything")
expect_refusal(
    OAuthError, "invalid_scope", lambda: greedy.fetch_token(endpoint, grant_type="client_credentials")
)
said("requests-oauthlib and authlib: client credentials")
