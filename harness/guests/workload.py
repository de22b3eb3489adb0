"""What runs in a Linux guest: its first program, a script for busybox' shell.

It prints lines ``@linux NAME VALUE`` on the console, the kernel's log with each line's level between
``@linux log begin`` and ``@linux log end``, then ``@linux done``, and ends the machine.
:mod:`harness.guests.report` reads them. It judges nothing: what it prints is what it saw.
"""

INIT = r"""#!/bin/busybox sh
# Arguments: `shell`, or `work SECONDS`, how long to keep the load up.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs tmp /tmp

say() { echo "@linux $*"; }
now() { cut -d' ' -f1 /proc/uptime; }
off() { # when all has been sent (stty waits for that); a machine without ACPI cannot be switched off, but reset
    stty -F /dev/console cs8
    [ -d /sys/firmware/acpi ] && poweroff -f
    reboot -f
}

say up "$(now)"
if [ "$1" = shell ]; then
    setsid cttyhack sh
    off
fi
seconds=$2

has() { grep -qw "$1" /proc/cpuinfo && echo 1 || echo 0; }
ticks() {
    awk '$1 ~ /^(0|LOC):$/ { for (n = 2; $n ~ /^[0-9]+$/; n++) sum += $n } END { print sum + 0 }' /proc/interrupts
}

say kernel "$(uname -r)"
say processors "$(grep -c '^processor' /proc/cpuinfo)"
say flags "hypervisor=$(has hypervisor) svm=$(has svm)"

# fork and exec: how many of 20 children brought back what they were to compute
right=0
for n in $(seq 1 20); do
    [ "$(/bin/expr "$n" '*' 3)" = $((n * 3)) ] && right=$((right + 1))
done
say fork "$right"

# every processor runs a process that is bound to it
bound=0
for n in $(seq 0 $(($(grep -c '^processor' /proc/cpuinfo) - 1))); do
    [ "$(taskset -c "$n" awk '{ print $39 }' /proc/self/stat)" = "$n" ] && bound=$((bound + 1))
done
say bound "$bound"

# memory: 4 MiB of a process' own, and a file that is copied
say anonymous "$(head -c 4194304 /dev/zero | tail -c 4194304 | md5sum | cut -d' ' -f1)"
seq 1 50000 > /tmp/one
cp /tmp/one /tmp/two
say file "$(md5sum < /tmp/two | cut -d' ' -f1)"
rm /tmp/one /tmp/two

# timers: five times 0.2 s by the kernel's clock
before=$(now)
for n in 1 2 3 4 5; do usleep 200000; done
say slept "$(awk -v a="$before" -v b="$(now)" 'BEGIN { print b - a }')"

# signals: twenty to ourselves, one that ends a process, one by a timer
caught=0
trap 'caught=$((caught + 1))' USR1
for n in $(seq 1 20); do kill -USR1 $$; done
sh -c 'kill -SEGV $$' 2>/dev/null
ended=$?
timeout 0.3 sleep 60 2>/dev/null
say signals "caught=$caught ended=$ended timed=$?"

# programs of our own (programs.py): registers across exits, an SVM instruction
canary
registers=$?
svm-instruction 2>/dev/null
say programs "registers=$registers svm=$?"

# load: two processes for each processor compute the same again and again, with whole and with floating-point numbers
load() {
    until=$(($(cut -d. -f1 /proc/uptime) + seconds))
    rounds=0 wrong=0
    while [ $rounds -eq 0 ] || [ "$(cut -d. -f1 /proc/uptime)" -lt "$until" ]; do
        sum=$(seq 1 2000 | md5sum | cut -d' ' -f1)
        root=$(awk 'BEGIN { for (n = 1; n <= 2000; n++) s = s * 0.999 + n / 7; printf "%.9f", s }')
        rounds=$((rounds + 1))
        [ "$sum $root" = "ea4d0a24dabcaa11f9aa979b872d162b 162294.960781729" ] || wrong=$((wrong + 1))
    done
    echo "$rounds $wrong" > "/tmp/load.$1"
}
before=$(ticks) began=$(now)
for n in $(seq 1 $((2 * $(grep -c '^processor' /proc/cpuinfo)))); do load "$n" & done
wait
say load "$(cat /tmp/load.* | awk '{ r += $1; w += $2 } END { print "rounds=" r + 0 " wrong=" w + 0 }')"
say ticks "$(($(ticks) - before)) $(awk -v a="$began" -v b="$(now)" 'BEGIN { print b - a }')"

say log begin
dmesg -r
say log end
say done "$(now)"
off
"""
