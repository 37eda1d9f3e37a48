# Shared by the scripts here; sourced, never run.
# shellcheck shell=bash

say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# Runs a command as root, by sudo where need be; never asks for a password.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif has sudo && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        say "this needs root, or sudo without a password: $*"
        return 1
    fi
}

# Installs packages, without letting a service among them start by itself: what runs for the tests
# is started by scripts/servers, which then knows that it may stop it.
install_packages() (
    if ! has apt-get; then
        say "missing here, and there is no apt-get to install it with: $*"
        return 1
    fi
    say "installing $*"
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        # In a shell of its own, so that this is undone however the installation ends.
        trap 'as_root rm -f "$policy"' EXIT
        as_root sh -c "printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy" || return 1
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq </dev/null >&2 ||
        say "the lists of packages could not be refreshed; trying with those there are"
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" </dev/null >&2
)

# Whether something listens on a port of the loopback.
port_open() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Calls a command again and again until it succeeds; gives up after so many seconds.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            return 1
        fi
        sleep 0.2
    done
}

# Runs a command as a user of the package where we are root, else as ourselves; it keeps the pid.
as_user() {
    local user=$1
    shift
    if [ "$(id -u)" -eq 0 ]; then
        exec setpriv --reuid "$user" --regid "$user" --init-groups "$@"
    fi
    exec "$@"
}

owned_by() {
    if [ "$(id -u)" -eq 0 ]; then
        chown -R "$1" "$2"
    fi
}

show_log() {
    say "the end of its log:"
    tail -n 20 "$1" >&2 || true
}

# Where initdb and pg_ctl are.
postgres_programs() {
    if has initdb && has pg_ctl; then
        dirname "$(command -v initdb)"
        return
    fi
    local programs
    programs=$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1)
    [ -n "$programs" ] && dirname "$programs"
}

# Makes certificates for the servers and a client in a new directory, by an authority of our own, for ten days:
#   ca.pem                          the authority
#   server.pem, server.key          localhost, 127.0.0.1, ::1
#   client.pem, client.key          for the broker that asks for one
#   client-encrypted.key            the same key, with the password `test-key-password`
#   other-ca.pem                    an authority that has signed none of them
make_certificates() (
    umask 077
    rm -rf -- "$1"
    mkdir -p "$1"
    cd "$1" || exit
    cat >openssl.cnf <<'CONF'
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
authorityKeyIdentifier = keyid
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
authorityKeyIdentifier = keyid
CONF
    local request=(openssl req -config openssl.cnf -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
    local name
    for name in ca other-ca; do
        "${request[@]}" -x509 -days 10 -extensions authority -subj "/CN=Test authority $name" \
            -keyout "$name.key" -out "$name.pem"
    done
    for name in server client; do
        "${request[@]}" -subj "/CN=Test $name" -keyout "$name.key" -out "$name.request"
        openssl x509 -req -in "$name.request" -CA ca.pem -CAkey ca.key -set_serial "0x$(openssl rand -hex 8)" \
            -days 10 -extfile openssl.cnf -extensions "$name" -out "$name.pem"
    done
    openssl pkcs8 -topk8 -in client.key -v2 aes-256-cbc -passout pass:test-key-password \
        -out client-encrypted.key
    rm openssl.cnf ./*.request
)

# Whether a directory has certificates that last until tomorrow.
has_certificates() {
    openssl x509 -checkend 86400 -noout -in "$1/server.pem" >/dev/null 2>&1
}
