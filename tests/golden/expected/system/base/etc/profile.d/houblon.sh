# Written by houblon (role base). For people's login shells only; nothing that houblon runs reads it.
ulimit -c 0
if [ -n "${BASH_VERSION-}" ] && [ -z "${TMOUT-}" ]; then
    # An idle shell, perhaps root's, on a laptop left open. What runs in the foreground is not idle.
    declare -xr TMOUT=900
fi
