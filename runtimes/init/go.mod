module lateen.dev/init

go 1.22
