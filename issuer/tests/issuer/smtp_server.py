"""A mail server for tests, on a free port. What it does with a message depends on whom it is for:

busy@…    421, try later            unknown@…  550, no such user
hang@…    no answer at all          dies@…     takes the message and dies before it says so, the first time
quit@…    takes the message and never says goodbye

What happens is told on standard output, a JSON object a line."""

import argparse
import asyncio
import json
import ssl

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


def tell(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


class Server(SMTP):
    async def smtp_QUIT(self, arg):
        if any(to.startswith("quit@") for to in getattr(self, "took", [])):
            await asyncio.sleep(3600)
        await super().smtp_QUIT(arg)


class Handler:
    died = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        name = address.split("@")[0]
        tell("rcpt", to=address)
        if name == "busy":
            return "421 4.3.2 Come back later"
        if name == "unknown":
            return f"550 5.1.1 <{address}> is not known here"
        if name == "hang":
            await asyncio.sleep(3600)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        to = envelope.rcpt_tos[0]
        tell("data", to=to, mail_from=envelope.mail_from, message=envelope.content.decode())
        server.took = envelope.rcpt_tos
        if to.startswith("dies@") and to not in self.died:
            self.died.add(to)
            server.transport.abort()
            await asyncio.sleep(3600)
        return "250 Taken"


def login(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"issuer", b"a mail password")
    tell("login", good=good, mechanism=mechanism)
    return AuthResult(success=good, handled=False)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument("--implicit", action="store_true")
    options = parser.parse_args()
    more, context = {}, None
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate, options.key)
        more = {"authenticator": login, "auth_required": True, "auth_require_tls": not options.implicit}
        if not options.implicit:
            more |= {"tls_context": context, "require_starttls": True}
    make = lambda: Server(Handler(), hostname="localhost", **more)
    at_once = context if options.implicit else None
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=at_once)
    tell("listening", port=server.sockets[0].getsockname()[1])
    await server.serve_forever()


asyncio.run(main())
