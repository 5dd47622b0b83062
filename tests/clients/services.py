"""Services behind the edge, as platforms have them, written with FastAPI and unchanged.

Some verify the forwarded token themselves, with PyJWT and the keys of JWKS_URL. Others know no token and believe the
identity headers.
"""

import os
from typing import Annotated

import jwt
from fastapi import Depends, FastAPI, Header, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer


class Keys(jwt.PyJWKClient):
    """Counts how often the keys are fetched, for the tests."""

    fetches = 0

    def fetch_data(self):
        self.fetches += 1
        return super().fetch_data()


URL = os.environ["JWKS_URL"]
# As PyJWT does it by itself, which fetches the keys every 300 seconds: in a test, what they are to the issuer's
# `jwks.max_age` of 5 minutes.
regularly = Keys(URL, lifespan=float(os.environ["LIFESPAN"]))
# For an unknown `kid`, too, and at once; by itself PyJWT waits 30 seconds after its last fetch.
on_demand = Keys(URL, cooldown_duration=0)

app = FastAPI()
Credentials = Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]


def verified(token: str, keys: Keys) -> dict:
    try:
        key = keys.get_signing_key_from_jwt(token)
        options = {"require": ["exp", "iat", "iss", "aud", "sub"]}
        expected = {"audience": "trading_platform", "issuer": "user_service"}
        return jwt.decode(token, key, algorithms=["EdDSA"], options=options, **expected)
    except jwt.PyJWTError as refusal:
        raise HTTPException(status_code=401, detail=type(refusal).__name__) from refusal


@app.get("/api/verified/regularly")
def verified_regularly(credentials: Credentials):
    return verified(credentials.credentials, regularly)


@app.get("/api/verified/on-demand")
def verified_on_demand(credentials: Credentials):
    return verified(credentials.credentials, on_demand)


@app.get("/api/health")
@app.get("/api/told")
def told(
    x_user_id: Annotated[str | None, Header()] = None,
    x_user_email: Annotated[str | None, Header()] = None,
    x_user_roles: Annotated[str | None, Header()] = None,
    x_session_id: Annotated[str | None, Header()] = None,
    x_auth_method: Annotated[str | None, Header()] = None,
):
    return [x_user_id, x_user_email, x_user_roles, x_session_id, x_auth_method]


@app.get("/fetches")
def fetches():
    return on_demand.fetches
