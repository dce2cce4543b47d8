# sshd in the sandbox, ssh and scp from outside; then ssh from the sandbox.
. /tests/lib.sh
daemon() {
	mkdir -p /run/sshd; ssh-keygen -q -t ed25519 -N '' -f host
	mkdir -p /root/.ssh; chmod 700 /root /root/.ssh
	printf 'HostKey /work/host\nPidFile none\nUsePAM no\nPermitRootLogin yes\nStrictModes no\nPort 2222\nUseDNS no\nSubsystem sftp internal-sftp\n' >sshd.conf
	serve /usr/sbin/sshd -D -e -f /work/sshd.conf
}
opt="-p 2222 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o BatchMode=yes -o ConnectTimeout=10"
login() { # login ADDRESS-4 ADDRESS-6
	for host in $1 $2; do
		ssh $opt root@$host 'echo "in: $(whoami) ${SSH_CONNECTION##* }"; cat' <<<"to the other side"
		head -c 3000000 /dev/zero | ssh $opt root@$host sha256sum
	done
	ssh $opt -tt root@$1 'stty size; tty | sed s/[0-9]*$//' </dev/null | tr -d '\r'
	ssh $opt root@$1 'exit 7' || echo "code $?"
	seq 100 >copied; scp -q -O -P 2222 ${opt#-p 2222} copied root@$1:/tmp/copy-$side; ssh $opt root@$1 "wc -l </tmp/copy-$side"
}
mkdir -p /root/.ssh; ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
cp /root/.ssh/id_ed25519.pub /shared/key-$side; signal key-$side.there
await key-sandbox.there; await key-outside.there
cat /shared/key-sandbox /shared/key-outside >/root/.ssh/authorized_keys; chmod 600 /root/.ssh/authorized_keys
daemon
if [ $side = sandbox ]; then
	await half; port $OUT4 2222; port $OUT6 2222
	login $OUT4 $OUT6; signal "done-$side"
	await done-outside
else
	port $IN4 2222; port $IN6 2222
	login $IN4 $IN6; signal half
	signal "done-$side"; await done-sandbox
fi
